"""Where the translations of a store are: which rows of two streams are of one group.

All streams are in the order of their groups' keys, so the rows that two streams share are found by a merge. The n-th
match of two streams is found without merging all before it: for every block of matches the index says at which key it
begins. One file, `alignment/<fingerprint>.parquet`, has these keys, and those at which the row groups of each stream
begin; a store that is added to gets another one beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import UserError

INDEX_FOLDER = "alignment"
INDEX_FILE = "alignment.parquet"  # where stores that were prepared earlier have it
INDEX = pa.schema(
    [
        ("left", pa.int32()),  # number of a stream
        ("right", pa.int32()),  # number of another, left < right; the same: a row group of that stream
        ("rows", pa.int32()),  # matches in the block, or rows in the row group
        ("key", pa.uint64()),  # of the group that the block begins with
        ("skip", pa.int32()),  # matches of that group that the block before has
    ]
)


class Matches(NamedTuple):
    """Groups that two streams share, each with so many matches that every row of the group is in one.

    Attributes:
        keys: of each shared group, ascending, uint64 [groups].
        left, right: the first row of the group in each, int64 [groups].
        left_rows, right_rows: how many it has there, int64 [groups].
    """

    keys: np.ndarray
    left: np.ndarray
    right: np.ndarray
    left_rows: np.ndarray
    right_rows: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """The number of matches of each group, int64 [groups]: as many as the side with more rows has."""
        return np.maximum(self.left_rows, self.right_rows)

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of both sides of every match, int64 [matches] each: the shorter side of a group is repeated."""
        counts = self.counts
        if counts.sum() == len(counts):
            return self.left, self.right
        group = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(group)) - (np.cumsum(counts) - counts)[group]
        return self.left[group] + number % self.left_rows[group], self.right[group] + number % self.right_rows[group]


def index_fingerprint(index: pa.Table) -> str:
    """A hash of a table of the schema INDEX, which the manifest holds and the plan hash rests on."""
    digest = hashlib.sha256()
    for name in INDEX.names:
        digest.update(np.ascontiguousarray(index[name].to_numpy()).tobytes())
    return digest.hexdigest()[:16]


def index_uri(store: str, fingerprint: str) -> str:
    """Where the index with this fingerprint lies [URI]."""
    return storage.join(store, INDEX_FOLDER, f"{fingerprint}.parquet")


def read_index(store: str, fingerprint: str) -> pa.Table:
    """The index of the store [URI] that its manifest tells of, of the schema INDEX.

    Raises:
        UserError: it is missing or another.
    """
    uri, earlier = index_uri(store, fingerprint), storage.join(store, INDEX_FILE)
    uri = earlier if not storage.exists(uri) and storage.exists(earlier) else uri
    index = storage.read_parquet(uri)
    if index.schema != INDEX or index_fingerprint(index) != fingerprint:
        raise UserError(f"{uri} is not as it was written")
    return index


def check_index(index: pa.Table, row_groups: Sequence[int], store: str) -> None:
    """Check that an index is of streams with these numbers of row groups.

    Raises:
        UserError: it is of others, or none; the line names the store [URI].
    """
    if not any(column.null_count for column in index.columns):
        left, right, rows, _, skips = (index[name].to_numpy() for name in INDEX.names)
        in_range = (left >= 0) & (left <= right) & (right < len(row_groups)) & (rows > 0) & (skips >= 0)
        if in_range.all() and np.bincount(left[left == right], minlength=len(row_groups)).tolist() == list(row_groups):
            return
    raise UserError(f"{store} has an index of other streams than its manifest")


def match(left: np.ndarray, right: np.ndarray) -> Matches:
    """The groups that are in both of two ascending sequences of keys, uint64 [rows] each."""
    left_keys, left_starts, left_rows = _groups(left)
    right_keys, right_starts, right_rows = _groups(right)
    place = np.searchsorted(right_keys, left_keys)
    there = place < len(right_keys)
    there[there] = right_keys[place[there]] == left_keys[there]
    place = place[there]
    return Matches(left_keys[there], left_starts[there], right_starts[place], left_rows[there], right_rows[place])


def _groups(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each key once, where it begins, and how often it is there."""
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), dtype=bool), keys[1:] != keys[:-1]]))
    return keys[starts], starts, np.diff(starts, append=len(keys))


class Alignment:
    """The index of a store.

    Attributes:
        streams: the two streams that have matches, left < right, int64 [pairs, 2].
        rows: how many they have, int64 [pairs].
        block_rows: matches in a block, but in the last of a pair.
    """

    def __init__(self, index: pa.Table, block_rows: int) -> None:
        """Take the index from a table of the schema INDEX, ordered by left, right and place."""
        left, right, rows, keys, skips = (index[name].to_numpy() for name in INDEX.names)
        begins = np.flatnonzero(np.diff(left, prepend=-1) | np.diff(right, prepend=-1))
        counts = np.add.reduceat(rows, begins, dtype=np.int64) if len(begins) else np.empty(0, np.int64)
        ends = np.append(begins, len(left))[1:]
        both = left[begins] != right[begins]
        self.block_rows = block_rows
        self.streams = np.stack([left[begins], right[begins]], axis=1)[both].astype(np.int64)
        self.rows = counts[both]
        self._keys, self._skips = keys, skips
        self._spans = np.stack([begins, ends], axis=1)[both]
        self._row_groups = {
            int(left[begin]): keys[begin:end] for begin, end, two in zip(begins, ends, both, strict=True) if not two
        }

    def block(self, pair: int, number: int) -> tuple[int, int, int]:
        """The keys of the groups that a block of a pair begins with and ends before or in, and the matches of the first
        group that it leaves out."""
        begin, end = self._spans[pair]
        last = begin + number + 1 == end
        following = 2**64 - 1 if last else int(self._keys[begin + number + 1])
        return int(self._keys[begin + number]), following, int(self._skips[begin + number])

    def row_groups(self, stream: int, first: int, last: int) -> tuple[int, int]:
        """The row groups, from … to, of a stream that may hold keys `first` to `last`."""
        keys = self._row_groups[stream]
        start = int(np.searchsorted(keys, np.uint64(first))) - 1
        return max(start, 0), int(np.searchsorted(keys, np.uint64(last), side="right"))
