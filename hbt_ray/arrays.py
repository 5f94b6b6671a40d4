"""Small helpers on arrays that several packages need."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15  # splitmix64's step: 2^64 over the golden ratio


def blocks(total: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover range(total)."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def splitmix64(state: np.ndarray) -> np.ndarray:
    """Apply the finaliser of splitmix64 (Steele, Lea and Flood 2014), a bijection, to uint64 [any shape] in place."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state
