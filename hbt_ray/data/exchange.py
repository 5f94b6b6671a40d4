"""The shuffle exchanges over storage: many tables in one file, each of which can be read alone by its byte range.

What a file holds for one reader is a *segment*; the files whose segments are for the same readers are *runs*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray import storage

READ_BYTES = 2**25  # segments asked for together [bytes]
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


class Segment(NamedTuple):
    """Where a table lies: bytes start … stop of a file."""

    uri: str
    start: int
    stop: int


class Runs(NamedTuple):
    """Files that all have segments for the same readers.

    Attributes:
        uris: URI of each run's file.
        offsets: where in it each reader's segment begins, and the last ends, int64 [runs, readers + 1].
    """

    uris: list[str]
    offsets: np.ndarray

    def segments(self, reader: int) -> list[Segment]:
        """The segments of one reader, in order of runs."""
        spans = self.offsets[:, reader : reader + 2].tolist()
        return [Segment(uri, *span) for uri, span in zip(self.uris, spans, strict=True)]


def divided(table: pa.Table, reader: np.ndarray, readers: int) -> Iterator[pa.Table]:
    """The rows of each reader, in the order they are in; `reader`, int64 [rows], says whose each row is."""
    order = np.argsort(reader, kind="stable")
    for rows in np.split(order, np.searchsorted(reader[order], np.arange(1, readers))):
        yield table.take(pa.array(rows))


def write_segments(uri: str, tables: Iterable[pa.Table]) -> list[int]:
    """Write tables one behind the other into a file that is whole or absent; one without rows takes no bytes.

    Returns: where each begins, and the last ends [tables + 1].
    """
    offsets = [0]
    with storage.create(uri) as file:
        for table in tables:
            if table.num_rows:
                with pa.ipc.new_stream(file, table.schema, options=_OPTIONS) as writer:
                    writer.write_table(table)
            offsets.append(file.tell())
    return offsets


def read_segments(segments: Iterable[Segment], read_bytes: int = READ_BYTES) -> Iterator[pa.Table]:
    """The tables of the segments that hold one, in order; at most `read_bytes`, or one segment, are held undecoded."""
    wanted: list[Segment] = []
    size = 0
    for segment in segments:
        if wanted and size + segment.stop - segment.start > read_bytes:
            yield from _decoded(wanted)
            wanted, size = [], 0
        if segment.stop > segment.start:
            wanted.append(segment)
            size += segment.stop - segment.start
    yield from _decoded(wanted)


def _decoded(segments: list[Segment]) -> Iterator[pa.Table]:
    for data in storage.read_ranges(segments):
        with pa.ipc.open_stream(data) as stream:
            yield stream.read_all()
