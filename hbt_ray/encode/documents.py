"""What tells documents apart: a hash of the id and one of the text; and the names of what is made of several of them.

A document is a row of two numbers, uint64: of `lang:docid`, and of the text with its title in front. Names that are
made of them say what they hold, wherever and in whatever format it was found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

SKETCH = 256  # hashes by which two sets of documents are compared without reading either
NAME = 32  # hexadecimal digits of a name


def hash_strings(values: Iterable[str]) -> np.ndarray:
    """The hash of each string, uint64 [values]: the same on every machine and in every version."""
    data = b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values)
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)


def hash_texts(texts: Sequence[str | None]) -> np.ndarray:
    """The hash of each text, uint64 [texts]; 0 for None."""
    found = hash_strings(text or "" for text in texts)
    found[[text is None for text in texts]] = 0
    return found


def hash_documents(ids: Iterable[str], texts: Iterable[str]) -> np.ndarray:
    """The two hashes of each document, uint64 [documents, 2].

    Args:
        ids: `lang:docid` of each.
        texts: text of each, title in front.
    """
    return np.stack([hash_strings(ids), hash_strings(texts)], axis=1)


def in_order(documents: np.ndarray) -> np.ndarray:
    """The places, int64 [documents], that sort documents, uint64 [documents, 2], by id and then text."""
    return np.lexsort((documents[:, 1], documents[:, 0]))


def content_name(documents: np.ndarray) -> str:
    """A name of a set of documents, uint64 [documents, 2], in whatever order they come."""
    return _name(documents[in_order(documents)])


def part_name(language: str, documents: np.ndarray) -> str:
    """A name of documents of one language, uint64 [documents, 2], in their order."""
    return f"{language}-{_name(documents)}"


def sketch(documents: np.ndarray) -> list[str]:
    """The smallest hashes of documents, uint64 [documents, 2]: two sets share about as many as they share documents.

    Such a sketch is called bottom-k (Cohen and Kaplan 2007, doi:10.1145/1281100.1281133).
    """
    with np.errstate(over="ignore"):
        mixed = documents[:, 0] * np.uint64(0x9E3779B97F4A7C15) + documents[:, 1]
    some = np.partition(mixed, SKETCH)[:SKETCH] if len(mixed) > SKETCH else mixed
    return [f"{value:016x}" for value in sorted(some.tolist())]


def match(wanted: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of each wanted document among the known ones, int64 [wanted], -1 where there is none; and whether its
    id is known, with whatever text, bool [wanted].

    Args:
        wanted: uint64 [wanted, 2].
        known: uint64 [known, 2], in ascending order of the first column; those that two ids share may be several.
    """
    order = np.argsort(wanted[:, 0])  # a search in order is several times as fast
    keys, asked = np.ascontiguousarray(known[:, 0]), wanted[order, 0]
    first, stop = (np.empty(len(wanted), dtype=np.int64) for _ in range(2))
    first[order], stop[order] = (np.searchsorted(keys, asked, side) for side in ("left", "right"))
    found = np.full(len(wanted), -1, dtype=np.int64)
    for step in range(int((stop - first).max(initial=0))):  # more than one only for two ids of one hash
        here = np.flatnonzero(first + step < stop)
        place = first[here] + step
        same = known[place, 1] == wanted[here, 1]
        found[here[same]] = place[same]
    return found, first < stop


def _name(documents: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(documents, dtype="<u8").tobytes()).hexdigest()[:NAME]
