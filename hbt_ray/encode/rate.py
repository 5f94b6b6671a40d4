"""How far an encoding is, in each language, and how fast."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from hbt_ray.encode.spans import Part


class Rate:
    """What a run has encoded, by the results of its parts, and how fast; the start of its actors is counted in."""

    def __init__(self, totals: Mapping[str, int], missing: Iterable[Part], gpus_per_actor: float) -> None:
        """Begin to measure a run.

        Args:
            totals: language to all its texts.
            missing: the parts this run has to do.
        """
        self._totals = totals
        self._gpus_per_actor = gpus_per_actor
        self._left: Counter[str] = Counter()
        for part in missing:
            self._left[part.language] += part.rows
        self._sums: Counter[str] = Counter()
        self._actors: set[str] = set()
        self._peak = 0.0
        self._begun = time.monotonic()

    def after(self, result: Mapping[str, Any]) -> str:
        """Count one result of `PartEncoder`; returns the line after it."""
        self.add(result)
        return self.line(time.monotonic() - self._begun)

    def add(self, result: Mapping[str, Any]) -> None:
        """Count one result of `PartEncoder`."""
        self._left[result["language"]] -= result["rows"]
        self._sums.update({name: result[name] for name in ("rows", "tokens", "flops")})
        self._actors.add(result["actor"])
        self._peak = result["peak_flops"]

    def line(self, seconds: float) -> str:
        """What is done after so many seconds: by language, then texts and tokens a second (of this run) and, of GPUs
        that are known, the share of their peak in bf16 (MFU)."""
        done = (f"{name} {whole - self._left[name]:,}/{whole:,}" for name, whole in self._totals.items())
        rows, tokens, flops = (self._sums[name] / seconds for name in ("rows", "tokens", "flops"))
        mfu = f", MFU {flops / (self._peak * self._gpus_per_actor * len(self._actors)):.1%}" if self._peak else ""
        return f"{', '.join(done)}: {rows:,.0f} texts/s, {tokens:,.0f} tokens/s{mfu}"
