"""Stretches of a corpus file, and parts, which are documents of one, whatever the file's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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


class Part(NamedTuple):
    """The unit of encoding: documents of a stretch of one corpus file.

    Attributes:
        name: number of its first span in the corpus and language; of a part that is to be encoded, what it holds.
        start, stop: as a `Span` has them.
        rows: number of documents that count.
        held: number of documents in the stretch; 0: all count.
        kept: bits, the first of a byte highest, that say of each of these whether it counts.
    """

    name: str
    file: str
    language: str
    start: int
    stop: int
    rows: int
    held: int = 0
    kept: bytes = b""

    def choosing(self, counts: np.ndarray) -> Part:
        """The part with those of its documents alone that count, bool [rows]."""
        if counts.all():
            return self
        places = np.zeros(self.held or self.rows, dtype=bool)
        places[self.places] = counts
        return self._replace(rows=int(counts.sum()), held=len(places), kept=np.packbits(places).tobytes())

    @property
    def places(self) -> np.ndarray:
        """The places of the documents that count among those of the stretch, int64 [rows]."""
        if not self.held:
            return np.arange(self.rows)
        return np.flatnonzero(np.unpackbits(np.frombuffer(self.kept, np.uint8), count=self.held))


class Scanned(NamedTuple):
    """What the scan of a file finds.

    Attributes:
        keys: `lang:docid` of every row, large_string [rows].
        spans: spans that together hold every row once.
        order: numbers of the rows in the order of the spans, int64 [rows]; None: as they are.
        texts: hash of every row's text, uint64 [rows], if they were asked for; 0 where there is none.
    """

    keys: pa.ChunkedArray
    spans: list[Span]
    order: np.ndarray | None = None
    texts: np.ndarray | None = None


class Texts(NamedTuple):
    """The documents of a span, in order.

    Attributes:
        ids: `lang:docid` of each.
        texts: text of each with the title in front.
        titles: length of each one's title; 0: it has none [characters].
    """

    ids: list[str]
    texts: list[str]
    titles: list[int]

    def take(self, places: Sequence[int]) -> Texts:
        """The documents at these places."""
        return Texts(*([column[place] for place in places] for column in self))  # type: ignore[arg-type]


class Titled(NamedTuple):
    """A text with its title in front, and the length of the title; 0: it has none [characters]."""

    text: str
    title: int


def titled(title: str | None, text: str) -> Titled:
    """The text with its title, if there is one, in front."""
    return Titled(f"{title} {text}", len(title)) if title else Titled(text, 0)
