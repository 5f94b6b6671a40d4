"""The stream store: shuffled, tokenised sequences of pairs, each of one source and one set of languages.

A row of a stream is one group in all the stream's languages, so cross-lingual pairs are drawn, not stored: the store is
as large as its input. Columns: `group` (int64) and, per language, `query.<lang>`, `passage.<lang>` (list<int32>, no
special tokens) and `negatives.<lang>` (list<list<int32>>); bitext has `text.<lang>` for both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage

Kind = Literal["pairs", "cross-lingual", "bitext"]


@dataclass(frozen=True)
class Stream:
    """One stream as its manifest describes it.

    Attributes:
        kind: `pairs`: every language has query and passage; `cross-lingual`: the query is in the first language, the
            passage in the second; `bitext`: one sentence a language.
        rows: groups in the stream.
        files: path below the store and rows of each file, in stream order.
        tokens: per language, all tokens of (queries, passages).
    """

    name: str
    source: str
    kind: Kind
    languages: tuple[str, ...]
    rows: int
    files: tuple[tuple[str, int], ...]
    tokens: dict[str, tuple[int, int]]

    @property
    def monolingual(self) -> tuple[str, ...]:
        """Languages in which a row has query and passage."""
        return self.languages if self.kind == "pairs" else ()

    @property
    def cross_lingual(self) -> tuple[tuple[str, str], ...]:
        """Ordered (query language, passage language) that can be drawn from a row."""
        if self.kind == "cross-lingual":
            return ((self.languages[0], self.languages[1]),)
        return tuple(permutations(self.languages, 2))

    def column(self, role: Literal["query", "passage", "negatives"], language: str) -> str | None:
        """The stored column of this side, or None when there is none."""
        if self.kind == "bitext":
            return None if role == "negatives" else f"text.{language}"
        return f"{role}.{language}"


class StreamStore:
    """A finished store, read through its manifest."""

    def __init__(self, uri: str) -> None:
        """Raises:
        UserError: `uri` holds no finished stream store.
        """
        self.uri = uri
        self.manifest = storage.read_manifest(uri, "stream store")
        self.streams = [_stream(entry) for entry in self.manifest["streams"]]

    @cached_property
    def row_group_rows(self) -> int:
        """Rows of every row group but a file's last."""
        return int(self.manifest["row_group_rows"])

    @property
    def tokenizer_uri(self) -> str:
        return storage.join(self.uri, "tokenizer")

    @property
    def tokenizer_fingerprint(self) -> str:
        return str(self.manifest["tokenizer"]["fingerprint"])

    def read(self, stream: int, rows: np.ndarray, columns: list[str]) -> pa.Table:
        """The rows numbered `rows` (int64) of a stream, in that order.

        Raises:
            UserError: a file of the stream is missing or truncated.
        """
        entry = self.streams[stream]
        starts = np.cumsum([0, *(count for _, count in entry.files)])
        files = np.searchsorted(starts, rows, side="right") - 1
        in_file = rows - starts[files]
        row_groups = in_file // self.row_group_rows
        wanted, where = np.unique(np.stack([files, row_groups], axis=1), axis=0, return_inverse=True)
        tables, offsets, offset = [], np.zeros(len(wanted), dtype=np.int64), 0
        for number, (file, row_group) in enumerate(wanted):
            table = _read_row_group(storage.join(self.uri, entry.files[file][0]), int(row_group), columns)
            tables.append(table)
            offsets[number] = offset - row_group * self.row_group_rows
            offset += table.num_rows
        return pa.concat_tables(tables).take(pa.array(offsets[where.reshape(-1)] + in_file))


def _stream(entry: dict[str, Any]) -> Stream:
    return Stream(
        name=entry["name"],
        source=entry["source"],
        kind=entry["kind"],
        languages=tuple(entry["languages"]),
        rows=entry["rows"],
        files=tuple((file["path"], file["rows"]) for file in entry["files"]),
        tokens={language: (counts[0], counts[1]) for language, counts in entry["tokens"].items()},
    )


def _read_row_group(uri: str, row_group: int, columns: list[str]) -> pa.Table:
    with storage.parquet_errors(uri):
        return _open(uri).read_row_group(row_group, columns=columns)


@lru_cache(maxsize=256)
def _open(uri: str) -> pq.ParquetFile:
    """An open file with its footer read; kept, since a chunk of the plan touches the same files again and again."""
    fs, path = storage.arrow_filesystem(uri)
    return pq.ParquetFile(path, filesystem=fs)
