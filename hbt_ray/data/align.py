"""Last stage of `prepare`: the index of matches between streams, from the keys that the second stage left.

A part takes the keys of some partitions. How many matches each pair of streams has before it is known from the counts
of the second stage, so it knows which blocks begin in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import ray

from hbt_ray.data import exchange
from hbt_ray.data.alignment import INDEX, match
from hbt_ray.data.exchange import Segment
from hbt_ray.data.stage import Stage, stage_file

KEYS = pa.schema([("stream", pa.int32()), ("key", pa.uint64())])
MOST_BLOCKS = 2**22  # of translations in the index: larger blocks where there would be more


class Keys(NamedTuple):
    """Where the keys of a partition lie.

    Attributes:
        partition: its number.
        start, stop: bytes in the partition's file.
        streams: number in the store of each of the partition's streams, int64 [streams].
    """

    partition: int
    start: int
    stop: int
    streams: np.ndarray


def shared(keys: Sequence[np.ndarray], comparable: Sequence[object], new: int) -> list[list[int]]:
    """The matches of each two streams whose `comparable` is equal and not None: [left, right, their number].

    Args:
        keys: ascending, uint64 [rows] of each stream.
        new: how many streams, from the first on, are new: two others are left out.
    """
    found = []
    for left, right in combinations(range(len(keys)), 2):
        if left < new and comparable[left] is not None and comparable[left] == comparable[right]:
            count = int(match(keys[left], keys[right]).counts.sum())
            if count:
                found.append([left, right, count])
    return found


def blocks(
    keys: Mapping[int, np.ndarray],
    spans: Mapping[tuple[int, int], tuple[int, int]],
    row_group_rows: int,
    block_rows: int,
) -> dict[str, list[int]]:
    """The blocks that begin in a range of keys: columns of INDEX but `rows`, and `at`, each block's number.

    Args:
        keys: of each stream in the range, ascending, uint64 [rows].
        spans: for left and right, their matches before the range and after it.
    """
    nothing = np.empty(0, np.uint64)
    found: dict[str, list[int]] = {name: [] for name in ("left", "right", "at", "key", "skip")}
    for (left, right), (before, after) in spans.items():
        size = row_group_rows if left == right else block_rows
        numbers = range(-(-before // size), -(-after // size))
        if not numbers:
            continue
        matches = match(keys.get(left, nothing), keys.get(right, nothing))
        ends = np.cumsum(matches.counts)
        place = np.array(numbers) * size - before
        group = np.searchsorted(ends, place, side="right")
        skip = place - (ends - matches.counts)[group]
        columns = ([left] * len(numbers), [right] * len(numbers), numbers, matches.keys[group].tolist(), skip.tolist())
        for name, values in zip(found, columns, strict=True):
            found[name] += values
    return found


def whole_index(
    parts: Iterable[Mapping[str, Sequence[int] | np.ndarray]],
    totals: Mapping[tuple[int, int], int],
    row_group_rows: int,
    block_rows: int,
) -> pa.Table:
    """The index, of the schema INDEX, from the blocks of all parts and the matches of every left and right."""
    tables = [pa.table({name: pa.array(values, pa.uint64()) for name, values in part.items()}) for part in parts]
    index = pa.concat_tables(tables).sort_by([(name, "ascending") for name in ("left", "right", "at")])
    left, right, at = (index[name].to_numpy().astype(np.int64) for name in ("left", "right", "at"))
    sizes = np.where(left == right, row_group_rows, block_rows)
    ends = np.array([totals[pair] for pair in zip(left.tolist(), right.tolist(), strict=True)], dtype=np.int64)
    columns = [
        index["left"],
        index["right"],
        pa.array(np.minimum(sizes, ends - at * sizes)),
        index["key"],
        index["skip"],
    ]
    return pa.table(columns, names=INDEX.names).cast(INDEX)


@dataclass(frozen=True)
class AlignStage:
    """What all parts of this stage have in common; a call does one part.

    Attributes:
        grouped: folder of the second stage.
        keys: for each part a reference to its list of Keys.
        before: reference to the matches of (left, right) before each part: a dict to int64 [parts + 1].
        block_rows: matches in a block.
    """

    grouped: str
    keys: list[Any]
    before: Any
    row_group_rows: int
    block_rows: int

    def __call__(self, number: int, value: int) -> dict[str, Any]:
        """The blocks that begin in the partitions of part `value`, as `blocks` gives them."""
        spans = {pair: (int(of[value]), int(of[value + 1])) for pair, of in ray.get(self.before).items()}
        return blocks(self._read(ray.get(self.keys[value])), spans, self.row_group_rows, self.block_rows)

    def _read(self, told: Sequence[Keys]) -> dict[int, np.ndarray]:
        """The keys of each stream in these partitions, ascending."""
        pieces: dict[int, list[np.ndarray]] = {}
        for keys in told:
            segment = Segment(stage_file(self.grouped, keys.partition, ".arrows"), keys.start, keys.stop)
            for table in exchange.read_segments([segment]):
                local, key = table["stream"].to_numpy(), table["key"].to_numpy()
                starts = np.flatnonzero(np.diff(local, prepend=-1))
                for stream, of_stream in zip(local[starts], np.split(key, starts[1:]), strict=True):
                    pieces.setdefault(int(keys.streams[stream]), []).append(of_stream)
        return {stream: np.concatenate(of_stream) for stream, of_stream in pieces.items()}


def align(
    root: str,
    grouped: str,
    keys: Sequence[Sequence[Keys]],
    counts: Mapping[tuple[int, int], np.ndarray],
    size: int,
    there: tuple[pa.Table, int],
) -> tuple[pa.Table, int]:
    """Make the index of a store: a table of the schema INDEX, and the matches in a block.

    Args:
        root: folder of the stages [URI].
        keys: of the partitions of each part, in order.
        counts: (left, right) to its matches in each part, int64 [parts]; a stream with itself has as many as rows.
        size: rows in a row group.
        there: the index that there is already, of other pairs of the streams, and the matches in a block of it.
    """
    totals = {pair: np.concatenate([[0], np.cumsum(found)]) for pair, found in sorted(counts.items())}
    ends = {pair: int(found[-1]) for pair, found in totals.items()}
    had, block_rows = there
    matches = [count for (left, right), count in (*ends.items(), *_matches(had).items()) if left != right]
    had_rows = block_rows
    while sum(-(-count // block_rows) for count in matches) > MOST_BLOCKS:
        block_rows *= 2
    stage = Stage(root, "align", range(len(keys)))
    stage.run(AlignStage(grouped, [ray.put(list(of_part)) for of_part in keys], ray.put(totals), size, block_rows))
    index = pa.concat_tables(
        [coarser(had, block_rows // had_rows), whole_index(stage.commits(), ends, size, block_rows)]
    )
    order = np.lexsort((index["right"].to_numpy(), index["left"].to_numpy()))
    return index.take(pa.array(order)).combine_chunks(), block_rows


def coarser(index: pa.Table, factor: int) -> pa.Table:
    """The same index, of the schema INDEX, with `factor` blocks of matches joined to one; row groups stay."""
    left, right, rows = (index[name].to_numpy() for name in ("left", "right", "rows"))
    begins = np.flatnonzero(np.diff(left, prepend=-1) | np.diff(right, prepend=-1))
    number = np.arange(len(left)) - np.repeat(begins, np.diff(begins, append=len(left)))  # of a block in its pair
    kept = np.flatnonzero((left == right) | (number % factor == 0))
    joined = np.add.reduceat(rows, kept) if len(kept) else rows
    index = index.take(pa.array(kept))
    return index.set_column(index.schema.get_field_index("rows"), INDEX.field("rows"), pa.array(joined, pa.int32()))


def _matches(index: pa.Table) -> dict[tuple[int, int], int]:
    """The matches that an index has of each left and right."""
    sums = index.group_by(["left", "right"]).aggregate([("rows", "sum")])
    return {(row["left"], row["right"]): row["rows_sum"] for row in sums.to_pylist()}
