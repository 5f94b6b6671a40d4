"""Stretches of a corpus file: what a part of the corpus is, whatever the file's format."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa


class Span(NamedTuple):
    """Documents of one language in one file.

    Attributes:
        start, stop: rows of a parquet file, of which those of `language` count; bytes of a JSON-lines file, as it was
            before it was compressed.
        rows: number of documents.
    """

    language: str
    start: int
    stop: int
    rows: int


class Scanned(NamedTuple):
    """What the scan of a file finds.

    Attributes:
        keys: `lang:docid` of every row, large_string [rows].
        spans: spans that together hold every row once.
    """

    keys: pa.ChunkedArray
    spans: list[Span]


class Texts(NamedTuple):
    """The documents of a span, in order: ids (`lang:docid`), and texts with the title in front."""

    ids: list[str]
    texts: list[str]


def titled(title: str | None, text: str) -> str:
    """The text with its title, if there is one, in front."""
    return f"{title} {text}" if title else text
