"""Row groups of parquet files, decoded and kept.

A cross-lingual batch takes a few rows each of many row groups, and the next one comes back to them. No file stays open
between two calls, so nothing breaks when a process is forked or a connection is dropped.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.config import UserError

CACHE_BYTES = 2**28  # of decoded columns
FOOTER_BYTES = 2**24  # of footers as they lie in the file; in memory they are several times as large
READ_ROW_GROUPS = 16  # decoded in one go


class File(NamedTuple):
    """A parquet file whose row groups, but the last, have `row_group_rows` rows; `version` changes when it does."""

    uri: str
    row_group_rows: int
    version: str = ""


class Lru:
    """The values last used, of at most `capacity` bytes together."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()
        self.bytes = 0

    def get(self, key: Hashable) -> Any:
        """The value, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of `size` [bytes]; those used longest ago make room for it."""
        with self._lock:
            self.bytes += size - self._values.pop(key, (None, 0))[1]
            self._values[key] = value, size
            while self.bytes > self._capacity:
                self.bytes -= self._values.popitem(last=False)[1][1]


_columns, _footers = Lru(CACHE_BYTES), Lru(FOOTER_BYTES)


def read_row_groups(file: File, wanted: Mapping[int, Sequence[str]]) -> dict[tuple[int, str], pa.Array]:
    """The values wanted, an array [rows of the group] for each row group (ascending) and column, by these two.

    Raises:
        UserError: the file is missing or damaged.
    """
    found = {(group, name): _columns.get((file, group, name)) for group, names in wanted.items() for name in names}
    missing = {group: [name for name in names if found[group, name] is None] for group, names in wanted.items()}
    for together in _runs(missing):
        names = missing[together[0]]
        with storage.parquet_errors(file.uri):
            for group, batch in zip(together, _decode(file, together, names), strict=True):
                for name, array in zip(names, batch.columns, strict=True):
                    found[group, name] = array
                    _columns.put((file, group, name), array, array.nbytes)
    return found


def _runs(missing: dict[int, list[str]]) -> Iterator[list[int]]:
    """Row groups that lie one behind the other and lack the same columns, some at a time."""
    run: list[int] = []
    for group, names in missing.items():
        if run and (group != run[-1] + 1 or names != missing[run[0]] or len(run) == READ_ROW_GROUPS):
            yield run
            run = []
        if names:
            run.append(group)
    if run:
        yield run


def _decode(file: File, row_groups: list[int], columns: list[str]) -> Iterator[pa.RecordBatch]:
    footer = _footer(file)
    there = set(footer.schema.to_arrow_schema().names)
    if row_groups[-1] >= footer.num_row_groups or not there.issuperset(columns):
        raise UserError(f"{file.uri} is not as it was written: it lacks rows or columns")
    source: Any
    fs, source = storage.arrow_filesystem(file.uri)
    local = isinstance(fs, pa.fs.LocalFileSystem)
    if not local:
        fs, source = None, pa.PythonFile(_Ranges(_fetch(file.uri, footer, row_groups, columns)), mode="r")
    with pq.ParquetFile(source, filesystem=fs, metadata=footer, pre_buffer=local) as parquet:
        for batch in parquet.iter_batches(file.row_group_rows, row_groups=row_groups, columns=columns):
            yield batch.select(columns)


def _footer(file: File) -> pq.FileMetaData:
    footer = _footers.get(file)
    if footer is None:
        fs, path = storage.arrow_filesystem(file.uri)
        footer = pq.read_metadata(path, filesystem=fs)
        _footers.put(file, footer, footer.serialized_size)
    return footer


def _fetch(uri: str, footer: pq.FileMetaData, row_groups: list[int], columns: list[str]) -> list[tuple[int, bytes]]:
    """The parts of the file that hold the columns of the row groups: where each begins, and its bytes."""
    wanted = tuple(f"{name}." for name in columns)
    leaves = [leaf for leaf in range(footer.num_columns) if f"{footer.schema.column(leaf).path}.".startswith(wanted)]
    spans: list[list[int]] = []
    for chunk in (footer.row_group(group).column(leaf) for group in row_groups for leaf in leaves):
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        if spans and spans[-1][1] == start:
            spans[-1][1] += chunk.total_compressed_size
        else:
            spans.append([start, start + chunk.total_compressed_size])
    found = storage.read_ranges([(uri, start, stop) for start, stop in spans])
    return [(start, data) for (start, _), data in zip(spans, found, strict=True)]


class _Ranges(io.RawIOBase):
    """A file of which some ranges are at hand; reading elsewhere finds its end."""

    def __init__(self, ranges: list[tuple[int, bytes]]) -> None:
        self._starts = np.array([start for start, _ in ranges])
        self._ranges = ranges
        self._place = 0

    def readable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET or place == 0
        self._place = place if whence == io.SEEK_SET else self._ranges[-1][0] + len(self._ranges[-1][1])
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        start, data = self._ranges[max(int(np.searchsorted(self._starts, self._place, side="right")) - 1, 0)]
        begin = self._place - start
        found = data[begin : begin + size if size >= 0 else None]
        self._place += len(found)
        return found
