"""Which parts of a corpus are encoded, when only some of its documents are wanted; a part's name says what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hbt_ray.encode.corpus import Corpus
from hbt_ray.encode.documents import part_name
from hbt_ray.encode.spans import Part

READ_ROWS = 65536  # documents that are read for one part, most of which may not be wanted


def parts_to_encode(corpus: Corpus, wanted: np.ndarray, part_rows: int) -> list[tuple[Part, np.ndarray]]:
    """The parts that together hold each wanted document once, and the places of their documents in the corpus.

    Documents of neighbouring parts come together, so that few that are scattered do not make as many parts.

    Args:
        corpus: a corpus with the hashes of its documents.
        wanted: which documents of it, bool [documents].
        part_rows: largest part [documents].

    Returns: parts, named by what they hold, with places among the corpus's documents, int64 [rows of the part].
    """
    assert corpus.documents is not None
    found = []
    for some, first in _neighbours(corpus.parts, wanted, part_rows):
        places = first + np.flatnonzero(wanted[first : first + sum(part.rows for part in some)])
        name = part_name(some[0].language, corpus.documents[places])
        found.append((_together(some, wanted[first:])._replace(name=name), places))
    return found


def _neighbours(parts: Sequence[Part], wanted: np.ndarray, part_rows: int) -> Iterator[tuple[list[Part], int]]:
    """Parts that follow each other in one file and language, and the place of their first document in the corpus.

    The first and the last of them have a wanted document.
    """
    some: list[Part] = []
    first = stop = rows = held = last = 0
    for part in parts:
        place, stop = stop, stop + part.rows
        more = int(wanted[place:stop].sum())
        spanned = part.held or part.rows
        if some and not (_follows(some[-1], part) and rows + more <= part_rows and held + spanned <= READ_ROWS):
            yield some[:last], first
            some, rows, held = [], 0, 0
        if more or some:
            first = first if some else place
            some.append(part)
            rows, held = rows + more, held + spanned
            last = len(some) if more else last
    if some:
        yield some[:last], first


def _follows(one: Part, other: Part) -> bool:
    """Whether nothing of the file and language lies between the two: a span of which no document counts may."""
    number = int(one.name.partition("-")[0])
    return (one.file, one.language, number + 1) == (
        other.file,
        other.language,
        int(other.name.partition("-")[0]),
    )


def _together(parts: Sequence[Part], wanted: np.ndarray) -> Part:
    """One part of the wanted documents of parts that follow each other, `wanted` beginning with theirs."""
    kept, first = [], 0
    for part in parts:
        counts = np.zeros(part.held or part.rows, dtype=bool)
        counts[part.places] = wanted[first : first + part.rows]
        kept.append(counts)
        first += part.rows
    bits = np.concatenate(kept)
    whole = parts[0]._replace(stop=parts[-1].stop, rows=len(bits), held=0, kept=b"")
    return whole.choosing(bits)
