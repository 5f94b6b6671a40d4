"""Third stage of the shuffle: a stream's rows, partition after partition, cut into files of whole row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from hbt_ray import storage
from hbt_ray.data import exchange
from hbt_ray.data.exchange import Segment
from hbt_ray.data.group import columns_of
from hbt_ray.data.stage import stage_file


@dataclass(frozen=True)
class PackStage:
    """What all parts of this stage have in common; a call does one part.

    Attributes:
        grouped: folder of the second stage.
        segments: reference to a list of int64 [partitions, 4], one a stream: partition, start, stop, rows.
    """

    out: str
    grouped: str
    row_group_rows: int
    segments: Any

    def __call__(self, number: int, value: list[Any]) -> dict[str, Any]:
        """Write one file, `value` being what `files_of` says of it; returns path, rows, bytes."""
        stream, path, first, stop, columns = value
        partitions, starts, stops, counts = ray.get(self.segments)[stream].T
        ends = np.cumsum(counts)
        some = slice(int(np.searchsorted(ends, first, side="right")), int(np.searchsorted(ends, stop)) + 1)
        tables = exchange.read_segments(
            Segment(stage_file(self.grouped, partition, ".arrows"), *span)
            for partition, *span in zip(*(column[some].tolist() for column in (partitions, starts, stops)), strict=True)
        )
        before = first - int(ends[some.start] - counts[some.start])
        rows = (table.select(columns) for table in _rows(tables, before, stop - first))
        groups = _row_groups(rows, self.row_group_rows)
        with storage.create(storage.join(self.out, path)) as file:
            one = next(groups)
            with pq.ParquetWriter(file, one.schema, compression="zstd", write_statistics=False) as writer:
                for group in chain([one], groups):
                    writer.write_table(group)
            return {"path": path, "rows": stop - first, "bytes": file.tell()}


def files_of(streams: Sequence[dict[str, Any]], file_rows: int, texts: bool) -> list[list[Any]]:
    """The parts of this stage: stream (its number), path, first row, row it stops at, columns."""
    return [
        [
            number,
            f"streams/{stream['name']}/part-{first // file_rows:05d}.parquet",
            first,
            min(first + file_rows, rows),
            columns_of(stream["kind"], stream["scored"] > 0, texts),
        ]
        for number, stream in enumerate(streams)
        for rows in [stream["rows"]]
        for first in range(0, rows, file_rows)
    ]


def _rows(tables: Iterable[pa.Table], first: int, count: int) -> Iterator[pa.Table]:
    """Rows first … first + count of the tables, taken as one."""
    for table in tables:
        wanted = table.slice(first, count)
        first, count = 0, count - wanted.num_rows
        yield wanted


def _row_groups(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The tables' rows, `rows` at a time; the last may have fewer."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        held.append(table)
        size += table.num_rows
        if size >= rows:
            whole = pa.concat_tables(held)
            for start in range(0, size - size % rows, rows):
                yield whole.slice(start, rows)
            size %= rows
            held = [whole.slice(whole.num_rows - size)]
    if size:
        yield pa.concat_tables(held)
