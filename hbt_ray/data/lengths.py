"""Histograms of text lengths: exact up to 16 tokens, then eight bins an octave, so at most 12 % wide.

A bin's upper end is a multiple of a power of two: texts cut at 32, 64 or 512 tokens end a bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

_EXACT, _PER_OCTAVE, _OCTAVES = 16, 8, 20


def _octave(octave: int) -> np.ndarray:
    return 1 + (_EXACT << octave) + (_EXACT // _PER_OCTAVE << octave) * np.arange(_PER_OCTAVE)


edges: np.ndarray = np.concatenate([np.arange(_EXACT + 1), *map(_octave, range(_OCTAVES))])
"""The shortest length in each bin, int64 [bins]: 0, 1, … 16, 17, 19, … 31, 33, 37, …; a bin ends before the next."""


def bin_of(lengths: np.ndarray) -> np.ndarray:
    """The bin, int64 [texts], of each length, int [texts] in tokens; the last bin has no upper end."""
    return np.searchsorted(edges, lengths, side="right") - 1


def histogram(lengths: np.ndarray) -> list[int]:
    """How many of `lengths`, int [texts] in tokens, fall into each bin, without trailing zeros."""
    return [int(count) for count in np.bincount(bin_of(lengths))] if len(lengths) else []


def add(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The sum of two histograms."""
    return [left + right for left, right in zip_longest(one, other, fillvalue=0)]


def percentile(counts: Sequence[int], percent: float) -> int:
    """The longest length in the bin of the text at `percent` of a histogram [tokens]; 0 when it is empty."""
    total = sum(counts)
    if not total:
        return 0
    place = int(np.searchsorted(np.cumsum(counts), total * percent / 100))
    return int(edges[min(place + 1, len(edges) - 1)]) - 1
