"""Order as arithmetic: shares without drift, permutations without tables, random numbers without state.

Everything here is a function of its arguments, NumPy in and NumPy out, and costs the same wherever it is asked.
"""

from __future__ import annotations

import numpy as np

# primes above 2^30: coprime to every smaller length, so each makes an affine permutation of it
_PRIMES = np.array([3, 7, 9, 15, 19, 33, 67, 85, 115, 129, 145, 147, 163, 169, 213, 229], dtype=np.int64) + (1 << 30)
LONGEST = 2**30  # longest sequence `permute` takes


def mix(seed: int, *keys: int | np.ndarray) -> np.ndarray:
    """Random numbers, uint64, each a function of the seed and its keys (splitmix64); keys broadcast."""
    state = np.asarray(seed, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = state + np.asarray(key).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def permute(position: np.ndarray, length: int | np.ndarray, key: np.ndarray) -> np.ndarray:
    """Where `position` (int64, < length <= LONGEST) goes in the permutation of `length` that `key` (uint64) chooses.

    Affine maps alone keep equal distances equal; so the two parts of the sequence are permuted apart in between.
    """
    place = _affine(position, length, key)
    first = np.maximum((mix(5, key) >> np.uint64(34)).astype(np.int64) % length, 1)
    in_first = place < first
    start = np.where(in_first, 0, first)
    place = start + _affine(place - start, np.where(in_first, first, length - first), mix(6, key, in_first))
    return _affine(place, length, mix(7, key))


def _affine(position: np.ndarray, length: int | np.ndarray, key: np.ndarray) -> np.ndarray:
    factor = _PRIMES[(key & np.uint64(15)).astype(np.int64)] % length
    offset = (key >> np.uint64(24)).astype(np.int64) % length
    return (factor * position + offset) % length


class Shares:
    """Who gets which of a sequence of draws, in proportion to whole-number weights.

    After any number of draws each has its share to within the depth of a binary tree over them (in practice one or
    two), and after as many draws as the weights sum to, exactly its weight: every row once per pass.
    """

    def __init__(self, weights: np.ndarray) -> None:
        """`weights`: int64 >= 0, not all zero, sum below 2^31."""
        self._size = len(weights)
        leaves = np.zeros(1 << max(self._size - 1, 0).bit_length(), dtype=np.int64)
        leaves[: self._size] = weights
        self._levels = [leaves]
        while len(self._levels[0]) > 1:
            self._levels.insert(0, self._levels[0].reshape(-1, 2).sum(axis=1))

    def counts(self, draws: int) -> np.ndarray:
        """How many of the first `draws` (< 2^32) each got, int64 [weights]; never falls as `draws` grows."""
        given = np.array([draws], dtype=np.int64)
        for parents, children in zip(self._levels, self._levels[1:], strict=False):
            left = given * children[0::2] // np.maximum(parents, 1)
            given = np.stack([left, given - left], axis=1).reshape(-1)
        return given[: self._size]
