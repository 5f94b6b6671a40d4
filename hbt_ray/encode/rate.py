"""How fast an encoding is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any


class Rate:
    """What a run has encoded, by the results of its parts, and how fast; the start of its actors is counted in."""

    def __init__(self, gpus_per_actor: float) -> None:
        self._gpus_per_actor = gpus_per_actor
        self._sums: Counter[str] = Counter()
        self._actors: set[str] = set()
        self._peak = 0.0
        self._begun = time.monotonic()

    def after(self, result: Mapping[str, Any]) -> str:
        """Count one result of `PartEncoder`; returns the line after it."""
        self._sums.update({name: result[name] for name in ("rows", "tokens", "flops")})
        self._actors.add(result["actor"])
        self._peak = result["peak_flops"]
        return self.line()

    def line(self) -> str:
        """Texts and tokens a second and, of GPUs that are known, the share of their peak in bf16 (MFU)."""
        rows, tokens, flops = (self._sums[name] for name in ("rows", "tokens", "flops"))
        seconds = time.monotonic() - self._begun
        mfu = (
            f", MFU {flops / seconds / (self._peak * self._gpus_per_actor * len(self._actors)):.1%}"
            if self._peak
            else ""
        )
        return (
            f"{rows:,} texts in {seconds:.1f} s: {rows / seconds:,.0f} texts/s, {tokens / seconds:,.0f} tokens/s{mfu}"
        )
