"""Order as arithmetic: shares without drift, permutations without tables, random numbers without state.

Everything here is a function of its arguments, NumPy in and NumPy out, and costs the same wherever it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

import numpy as np

from hbt_ray.arrays import GOLDEN, splitmix64

LONGEST = 2**31 - 1  # longest sequence `permute` and `Shares` take
_SEED = 0xD1B54A32D192ED03  # odd, so no two seeds agree; without it seed 0 and purpose 3 are seed 1 and purpose 2
_HALF = np.uint64(32)


class Purpose(IntEnum):
    """What random numbers of one seed are for: each purpose has its own."""

    STRATUM = 1
    ROW_GROUP = 2
    PAIR = 3
    DROPOUT = 4
    TEXT = 5
    RUN = 6


def mix(seed: int, purpose: Purpose, *keys: int | np.ndarray) -> np.ndarray:
    """Random numbers, uint64 [shape the keys broadcast to], each a function of seed, purpose and keys (integers)."""
    return rekey(seed * _SEED % 2**64, purpose, *keys)


def rekey(first: int, *keys: int | np.ndarray) -> np.ndarray:
    """Numbers, uint64 [shape the keys broadcast to], each a function of `first` and its keys: a chain of splitmix64."""
    state = np.array(first, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = splitmix64(np.asarray(np.asarray(key).astype(np.uint64) + (state + np.uint64(GOLDEN))))
    return state


def permute(position: np.ndarray, length: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Where each `position` (< length <= LONGEST) goes in the permutation of `length` that `key` (uint64) chooses.

    All are integers that broadcast to [shape of `position`]; so is what is returned, int64.

    A generalised Feistel network over a rectangle of at
    least `length` places, walked until it falls inside (Black and Rogaway, "Ciphers with arbitrary finite domains",
    2002), which is nearly always at once, since the rectangle has fewer than a row too many.
    """
    size = length.astype(np.uint32)
    height = np.ceil(np.sqrt(size))
    width = np.ceil(size / height)
    shape = (height.astype(np.uint32), width.astype(np.uint32), key.astype(np.uint32), (key >> _HALF).astype(np.uint32))
    place = _cross(position.astype(np.uint32), *shape)
    outside = np.nonzero(place >= size)
    while len(outside[0]):
        some = [np.broadcast_to(part, place.shape)[outside] for part in (size, *shape)]
        place[outside] = moved = _cross(place[outside], *some[1:])
        again = moved >= some[0]
        outside = tuple(axis[again] for axis in outside)
    return place.astype(np.int64)


def _cross(place: np.ndarray, height: np.ndarray, width: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A bijection of 0 … height * width, all uint32: row and column in turn are moved by a hash of the other."""
    row = (place / width).astype(np.uint32)  # exact: numbers of 32 bits, divided as 64-bit floats
    column = place - row * width
    for key in (low, high, low ^ high, low + high):
        row += _below(height, column, key)
        np.minimum(row, row - height, out=row)  # less than 0 is a large number
        column += _below(width, row, key ^ np.uint32(0x27D4EB2F))
        np.minimum(column, column - width, out=column)
    row *= width
    row += column
    return row


def _below(limit: np.ndarray, value: np.ndarray, key: np.ndarray) -> np.ndarray:
    """A random number less than `limit`, from `value` and `key`; all uint32, the first two less than 2^16.

    The finaliser of MurmurHash3, of which 16 bits are taken for a share of `limit`.
    """
    state = value ^ key
    state *= np.uint32(0x85EBCA6B)
    state ^= state >> np.uint32(13)
    state *= np.uint32(0xC2B2AE35)
    state >>= np.uint32(16)
    state *= limit
    state >>= np.uint32(16)
    return state


class Shares:
    """Who gets which of endless sequences of draws, each in proportion to the whole-number weights of its members.

    After any number of draws each member has its share to within the depth of a binary tree over them (in practice one
    or two), and after as many draws as the weights sum to, exactly its weight: every row once per pass.

    Attributes:
        depth: depth of each sequence's tree, int64 [sequences]: it has room for 2^depth members.
    """

    def __init__(self, weights: Sequence[np.ndarray]) -> None:
        """`weights`: the weights of each sequence's members, int64 [members], >= 0, not all 0, sum at most LONGEST."""
        self.depth = np.array([(len(members) - 1).bit_length() for members in weights], dtype=np.int64)
        self._tree = np.zeros(len(weights), dtype=np.int64)  # place of each sequence among those of its depth
        self._levels: dict[int, list[np.ndarray]] = {}  # per depth, from the root: sums, int64 [trees, 2^level]
        for depth in np.unique(self.depth).tolist():
            at = np.flatnonzero(self.depth == depth)
            self._tree[at] = np.arange(len(at))
            leaves = np.zeros((len(at), 1 << depth), dtype=np.int64)
            for tree, sequence in enumerate(at.tolist()):
                leaves[tree, : len(weights[sequence])] = weights[sequence]
            levels = [leaves]
            while levels[0].shape[1] > 1:
                levels.insert(0, levels[0].reshape(len(at), -1, 2).sum(axis=2))
            self._levels[depth] = levels

    def counts(self, depth: int, sequences: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """How many of the first `draws` (int64 [n]) of `sequences` (int64 [n], all of `depth`) each member got.

        The counts are int64 [n, 2^depth] and never fall as `draws` grows.
        """
        tree = self._tree[sequences]
        levels = [level[tree] for level in self._levels[depth]]
        passes, given = np.divmod(draws[:, None], levels[0])
        for parents, children in pairwise(levels):
            left = given * children[:, 0::2] // np.maximum(parents, 1)
            given = np.stack([left, given - left], axis=2).reshape(len(draws), -1)
        return given + passes * levels[-1]
