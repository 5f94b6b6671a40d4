"""The stream store: shuffled, tokenised sequences of pairs, each of one source and one language.

A row of a stream is one pair. Rows are in the order of a keyed hash of their group, the same in every stream, so the
translations of a group lie at the same relative place in the streams of all its languages, and cross-lingual pairs are
found there (`alignment.py`), not stored: the store is as large as its input. Columns: `group` (int64), `query`,
`passage` (list<int32>, no special tokens) and `negatives` (list<list<int32>>); of bitext `query` alone, for both sides.
A stream of which a row has scores has `scores` (list<float32>: of the passage and then of each negative; empty: none).
Where a prefix changes a text's ids (`model/prefixes.py`), each column of tokens has its texts beside it, `query_text`
and so on, to where no run needs more; a run with a prefix reads them instead of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import UserError, WeightedStore
from hbt_ray.config.data import PLAIN
from hbt_ray.data import lists, rowgroups
from hbt_ray.data.alignment import Alignment, check_index, match, read_index
from hbt_ray.data.keys import shuffle_order
from hbt_ray.data.stream import Matched, StoreShape, stream_of

REQUESTS = 32  # at once
NO_COUNTS: dict[str, Any] = {"kept": 0, "duplicates": 0, "quarantined": {}, "by_source": {}, "by_language": {}}


class StreamStore:
    """A finished store, read through its manifest."""

    def __init__(self, uri: str) -> None:
        """Read the manifest.

        Raises:
            UserError: `uri` holds no finished stream store, or one whose streams were not yet a language each.
        """
        self.uri = uri
        self.manifest = storage.read_manifest(uri, "stream store", StoreShape)
        tokens = self.manifest.get("texts", {}).get("max_tokens")
        self.streams = [stream_of(entry, self.row_group_rows, tokens) for entry in self.manifest["streams"]]

    def __repr__(self) -> str:
        counts = self.counts
        return (
            f"StreamStore({self.uri!r}: {counts['kept']:,} records in {len(self.streams)} streams, "
            f"{len(counts['by_language'])} languages)"
        )

    @property
    def counts(self) -> dict[str, Any]:
        """How many rows, tokens and bad rows there are, also by language and by source."""
        return {**NO_COUNTS, **self.manifest["counts"]}

    @property
    def data(self) -> tuple[WeightedStore, ...]:
        """What a run is told to train on this store, as it is now."""
        return (WeightedStore(uri=self.uri, checksum=self.identity),)

    @property
    def identity(self) -> str:
        """What the batches of a plan rest on, as JSON."""
        return str(self.manifest["checksum"])

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each store, by name."""
        return {PLAIN: 1.0}

    @cached_property
    def row_group_rows(self) -> int:
        """The number of rows in every row group but a stream's last."""
        return int(self.manifest["row_group_rows"])

    @cached_property
    def alignment(self) -> Alignment:
        """Where the translations are.

        Raises:
            UserError: the index is missing or not the one that the manifest tells of.
        """
        told = self.manifest["alignment"]
        index = read_index(self.uri, told["fingerprint"])
        check_index(index, [-(-stream.rows // self.row_group_rows) for stream in self.streams], self.uri)
        return Alignment(index, told["block_rows"])

    @cached_property
    def matched(self) -> list[Matched]:
        """The streams with translations of each other; `matches` takes numbers of this list."""
        found = self.alignment
        both = zip(found.streams.tolist(), found.rows.tolist(), strict=True)
        return [Matched(left, right, rows, found.block_rows) for (left, right), rows in both]

    @property
    def tokenizer_uri(self) -> str:
        """The folder of the store's tokenizer [URI]."""
        return storage.join(self.uri, "tokenizer")

    @property
    def tokenizer_fingerprint(self) -> str:
        """The hash of what decides the tokens."""
        return str(self.manifest["tokenizer"]["fingerprint"])

    @property
    def has_texts(self) -> bool:
        """Whether there are texts beside the tokens, for prefixes that need them."""
        return "texts" in self.manifest

    def check_files(self) -> None:
        """Find out early what reading would find out late, by one listing a stream.

        Raises:
            UserError: a file of a stream is missing, or of another length than the manifest says.
        """
        with ThreadPoolExecutor(REQUESTS) as pool:
            for problem in pool.map(self._problem, self.manifest["streams"]):
                if problem:
                    raise UserError(problem)

    def _problem(self, entry: dict[str, Any]) -> str | None:
        found = storage.sizes(storage.join(self.uri, "streams", entry["name"])) if entry["files"] else {}
        if sum(file["rows"] for file in entry["files"]) != entry["rows"]:
            return f"{self.uri}: the files of stream {entry['name']} do not have the {entry['rows']:,} rows that it has"
        for file in entry["files"]:
            uri, size = storage.join(self.uri, file["path"]), found.get(file["path"].rsplit("/", 1)[-1])
            if size is None:
                return f"no file {uri}"
            if size != file["bytes"]:
                return f"{uri} is not as it was written: it has {size} bytes and had {file['bytes']}"
        return None

    def read(self, stream: int, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """The rows of a stream that are numbered `rows`, int64 [rows], in that order.

        Raises:
            UserError: a file of the stream is missing or truncated.
        """
        found = self.read_each(stream, [(name, rows) for name in columns])
        taken = [lists.take(values, place) for values, place in found]
        return pa.table(taken, names=list(columns))

    def matches(self, pair: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of both streams of `matched[pair]` that are its matches `numbers`, int64 [matches] each.

        Raises:
            UserError: a file of a stream is missing or truncated.
        """
        size = self.alignment.block_rows
        left, right = np.empty_like(numbers), np.empty_like(numbers)
        blocks = numbers // size
        order = np.argsort(blocks, kind="stable")
        for run in _runs(blocks[order]):
            at = order[run]
            block = int(blocks[at[0]])
            both, inside = self._block(pair, block), numbers[at] - block * size
            if inside.max() >= len(both[0]):
                raise UserError(f"{self.uri} has an index of other rows than its streams have")
            left[at], right[at] = (rows[inside] for rows in both)
        return left, right

    def _block(self, pair: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of both streams that are matches of a block and, perhaps, of what follows it."""
        first, last, skip = self.alignment.block(pair, number)
        keys, starts = [], []
        for stream in self.alignment.streams[pair].tolist():
            begin, end = (place * self.row_group_rows for place in self.alignment.row_groups(stream, first, last))
            rows = np.arange(begin, min(end, self.streams[stream].rows))
            ((groups, _),) = self.read_each(stream, [("group", rows)])
            of_stream = shuffle_order(groups.to_numpy(), self.manifest["seed"])
            start = int(np.searchsorted(of_stream, np.uint64(first)))
            stop = int(np.searchsorted(of_stream, np.uint64(last), side="right"))
            keys.append(of_stream[start:stop])
            starts.append(begin + start)
        left, right = match(*keys).rows()
        return left[skip:] + starts[0], right[skip:] + starts[1]

    def read_each(self, stream: int, wanted: Sequence[tuple[str, np.ndarray]]) -> list[tuple[pa.Array, np.ndarray]]:
        """An array of values [some] for each column and its numbers of rows, int64 [rows], and each row's place in it.

        Places are int64 [rows]. A row group is decoded in the columns that are wanted of it.

        Raises:
            UserError: a file of the stream is missing or truncated.
        """
        split = [_by_row_group(rows, self.row_group_rows) for _, rows in wanted]
        columns: dict[int, set[str]] = {}
        for (name, _), (groups, _, _) in zip(wanted, split, strict=True):
            for group in groups:
                columns.setdefault(group, set()).add(name)
        decoded = self._decoded(stream, columns)
        found = []
        for (name, _), (groups, rows, place) in zip(wanted, split, strict=True):
            pieces = [_rows(decoded[group, name], inside) for group, inside in zip(groups, rows, strict=True)]
            found.append((pa.concat_arrays(pieces) if len(pieces) > 1 else pieces[0], place))
        return found

    def _decoded(self, stream: int, columns: dict[int, set[str]]) -> dict[tuple[int, str], pa.Array]:
        """The columns wanted of each row group of the stream."""
        found = {}
        firsts = [first // self.row_group_rows for first in self._first_rows[stream].tolist()]
        groups = sorted(columns)
        files = np.searchsorted(firsts, groups, side="right") - 1
        for run in _runs(files):
            number = int(files[run.start])
            uri = storage.join(self.uri, self.streams[stream].files[number][0])
            file = rowgroups.File(uri, self.row_group_rows, str(self.manifest["checksum"]))
            inside = {group - firsts[number]: sorted(columns[group]) for group in groups[run]}
            rows = self.streams[stream].files[number][1]
            for (group, name), values in rowgroups.read_row_groups(file, inside).items():
                of_group = min(rows - group * self.row_group_rows, self.row_group_rows)
                if len(values) != of_group or (name == "group" and values.null_count):
                    raise UserError(f"{uri} is not as it was written: row group {group} has not {of_group:,} rows")
                found[firsts[number] + group, name] = values
        return found

    @cached_property
    def _first_rows(self) -> list[np.ndarray]:
        """The first row of each file of each stream, int64 [files]."""
        return [np.cumsum([0, *(count for _, count in stream.files)])[:-1] for stream in self.streams]


def _by_row_group(rows: np.ndarray, size: int) -> tuple[list[int], list[np.ndarray], np.ndarray]:
    """The row groups that hold the rows, the rows within each, and where each of `rows` is among all of these."""
    groups = rows // size
    order = np.argsort(groups, kind="stable")
    runs = _runs(groups[order])
    inside = rows[order] % size
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return [int(groups[order[run.start]]) for run in runs], [inside[run] for run in runs], place


def _rows(values: pa.Array, rows: np.ndarray) -> pa.Array:
    """Some rows of a row group."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return values.slice(rows[0], len(rows))
    return lists.take(values, rows)


def _runs(values: np.ndarray) -> list[slice]:
    """Where equal values stand side by side."""
    ends = [*(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
