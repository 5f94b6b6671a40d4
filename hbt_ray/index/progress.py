"""Lines that say how far an encoding is, how fast, and for how long still."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from hbt_ray.index.corpus import Part

SECONDS = 10  # between two lines
log = logging.getLogger(__name__)


class Progress:
    """What a run has done, by the results of its parts."""

    def __init__(self, role: str, totals: Mapping[str, int], missing: Iterable[Part], gpus_per_actor: float) -> None:
        """Args:
        totals: language to all its texts.
        missing: the parts this run has to do.
        """
        self._role = role
        self._totals = totals
        self._gpus_per_actor = gpus_per_actor
        self._left: Counter[str] = Counter()
        for part in missing:
            self._left[part.language] += part.rows
        self._sums: Counter[str] = Counter()
        self._actors: set[str] = set()
        self._peak = 0.0
        self._begun = self._said = time.monotonic()

    def add(self, result: Mapping[str, Any]) -> None:
        """Take one result of `PartEncoder` and, at times and at the end, log a line."""
        self._left[result["language"]] -= result["rows"]
        self._sums.update({name: result[name] for name in ("rows", "tokens", "flops")})
        self._actors.add(result["actor"])
        self._peak = result["peak_flops"]
        now = time.monotonic()
        if now - self._said > SECONDS or not self._left.total():
            self._said = now
            log.info("%s", self.line(now - self._begun))

    def line(self, seconds: float) -> str:
        """What is done after so many seconds: in all and by language, texts and tokens a second (of this run, starting
        of actors included), time left and, of GPUs that are known, the share of their peak in bf16 (MFU)."""
        left, total = self._left.total(), sum(self._totals.values())
        of_language = (f"{name} {whole - self._left[name]:,}/{whole:,}" for name, whole in self._totals.items())
        rates = [self._sums[name] / seconds for name in ("rows", "tokens", "flops")]
        wait = timedelta(seconds=round(left / rates[0])) if rates[0] else "unknown"
        mfu = ""
        if self._peak:
            mfu = f", MFU {rates[2] / (self._peak * self._gpus_per_actor * len(self._actors)):.1%}"
        return (
            f"encoded {total - left:,} of {total:,} {self._role} texts ({', '.join(of_language)}): "
            f"{rates[0]:,.0f} texts/s, {rates[1]:,.0f} tokens/s{mfu}, {wait} left"
        )
