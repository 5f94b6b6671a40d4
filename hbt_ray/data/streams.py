"""The stream store: shuffled, tokenised sequences of pairs, each of one source and one set of languages.

A row of a stream is one group in all the stream's languages, so cross-lingual pairs are drawn, not stored: the store is
as large as its input. Columns: `group` (int64) and, per language, `query.<lang>`, `passage.<lang>` (list<int32>, no
special tokens) and `negatives.<lang>` (list<list<int32>>); bitext has `text.<lang>` for both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data import rowgroups

REQUESTS = 32  # at once

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
        lengths: per language, histograms of the lengths of (queries, passages), see `data/lengths.py`; empty when the
            manifest has none.
    """

    name: str
    source: str
    kind: Kind
    languages: tuple[str, ...]
    rows: int
    files: tuple[tuple[str, int], ...]
    tokens: dict[str, tuple[int, int]]
    lengths: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

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
        """Rows of every row group but a stream's last."""
        return int(self.manifest["row_group_rows"])

    @property
    def tokenizer_uri(self) -> str:
        return storage.join(self.uri, "tokenizer")

    @property
    def tokenizer_fingerprint(self) -> str:
        return str(self.manifest["tokenizer"]["fingerprint"])

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
        for file in entry["files"]:
            uri, size = storage.join(self.uri, file["path"]), found.get(file["path"].rsplit("/", 1)[-1])
            if size is None:
                return f"no file {uri}"
            if size != file["bytes"]:
                return f"{uri} is not as it was written: it has {size} bytes and had {file['bytes']}"
        return None

    def read(self, stream: int, rows: np.ndarray, columns: list[str]) -> pa.Table:
        """The rows numbered `rows` (int64) of a stream, in that order.

        Raises:
            UserError: a file of the stream is missing or truncated.
        """
        ascending = len(rows) < 2 or bool((rows[1:] >= rows[:-1]).all())
        order = None if ascending else np.argsort(rows, kind="stable")
        table = pa.concat_tables(self._ascending(stream, rows if order is None else rows[order], columns))
        return table if order is None else table.take(pa.array(np.argsort(order)))

    def _ascending(self, stream: int, rows: np.ndarray, columns: list[str]) -> Iterator[pa.Table]:
        """The rows, which ascend, row group by row group."""
        starts = self._first_rows[stream]
        files = np.searchsorted(starts, rows, side="right") - 1
        row_groups = (rows - starts[files]) // self.row_group_rows
        for of_file in _runs(files):
            number = files[of_file.start]
            uri = storage.join(self.uri, self.streams[stream].files[number][0])
            file = rowgroups.File(uri, self.row_group_rows, str(self.manifest["checksum"]))
            here = rows[of_file] - starts[number]
            runs = _runs(row_groups[of_file])
            wanted = [int(here[run.start]) // self.row_group_rows for run in runs]
            for run, group, table in zip(runs, wanted, rowgroups.read(file, wanted, columns), strict=True):
                inside = here[run] - group * self.row_group_rows
                together = bool((np.diff(inside) == 1).all())
                yield table.slice(inside[0], len(inside)) if together else table.take(pa.array(inside))

    @cached_property
    def _first_rows(self) -> list[np.ndarray]:
        """The first row of each file of each stream, int64 [files]."""
        return [np.cumsum([0, *(count for _, count in stream.files)])[:-1] for stream in self.streams]


def _runs(values: np.ndarray) -> list[slice]:
    """Where equal values stand side by side."""
    ends = [*(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _stream(entry: dict[str, Any]) -> Stream:
    return Stream(
        name=entry["name"],
        source=entry["source"],
        kind=entry["kind"],
        languages=tuple(entry["languages"]),
        rows=entry["rows"],
        files=tuple((file["path"], file["rows"]) for file in entry["files"]),
        tokens={language: (counts[0], counts[1]) for language, counts in entry["tokens"].items()},
        lengths={
            language: (tuple(sides["query"]), tuple(sides["passage"]))
            for language, sides in entry.get("lengths", {}).items()
        },
    )
