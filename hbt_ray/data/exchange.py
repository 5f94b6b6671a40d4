"""The shuffle exchanges over storage: many tables in one file, each of which can be read alone by its byte range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from hbt_ray import storage

READ_BYTES = 2**25  # segments asked for together [bytes]
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


class Segment(NamedTuple):
    """Where a table lies: bytes start … stop of a file."""

    uri: str
    start: int
    stop: int


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
