"""A corpus: its files, whether its ids are unique, the fixed parts it is encoded in, and the texts of a part."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import RayTaskError

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.encode import jsonl_documents, parquet_documents
from hbt_ray.encode.spans import Scanned, Span, Texts
from hbt_ray.storage.text_files import stem

TOGETHER = 65536  # ids that are hashed at once, for which they become Python's strings
UNHELD = r"[\s\p{Z}\x00\x0b\x1c-\x1f\x85]"  # what a field of a TREC file cannot hold, for RE2: \s of Python, and NUL
NAMED = 1000  # repeated ids that are looked up to name one
log = logging.getLogger(__name__)


class Part(NamedTuple):
    """The unit of encoding: a span of one corpus file. `start`, `stop` and `rows` are the span's."""

    name: str
    file: str
    language: str
    start: int
    stop: int
    rows: int


class Corpus(NamedTuple):
    """The files of a corpus, and the parts it is encoded in.

    Attributes:
        files: URI and size [bytes] of each file, in order.
        parts: all parts, in order of file, language and row.
    """

    files: list[tuple[str, int]]
    parts: list[Part]

    @property
    def rows(self) -> int:
        """The number of documents."""
        return sum(part.rows for part in self.parts)

    @property
    def rows_by_language(self) -> dict[str, int]:
        """The number of documents in each language."""
        counts: Counter[str] = Counter()
        for part in self.parts:
            counts[part.language] += part.rows
        return dict(sorted(counts.items()))


def scan_corpus(corpus: str, part_rows: int, language: str | None = None) -> Corpus:
    """Check ids and languages of the file, folder or glob `corpus` and fix its parts.

    Memory here is two 8-byte hashes a document. A task that scans a file holds the file's ids besides.

    Args:
        language: language of files that do not tell it.

    Raises:
        UserError: nothing is there, a file is truncated or not a corpus file, there is no document, an id or language
            is missing, or a `lang:docid` occurs twice. Rows are counted from 0.
    """
    found = _files(corpus)
    if len(found) == 1:
        scanned = [_scan(found[0], language, part_rows)]
    else:
        task = ray.remote(_scan)
        try:
            scanned = ray.get([task.remote(file, language, part_rows) for file in found])
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, UserError) else error) from None
    hashes, spans = zip(*scanned, strict=True)
    parts = plan_parts(found, spans)
    if not parts:
        raise UserError(f"the corpus {corpus} is empty")
    _refuse_duplicates(found, hashes, language)
    return Corpus([(file, storage.size(file)) for file in found], parts)


def absent(corpus: str, ids: Collection[str], language: str | None = None) -> set[str]:
    """The ids among `ids` (`lang:docid`) that the corpus does not have; all of the corpus's must fit into a TREC file.

    A task that scans a file holds the file's ids.

    Args:
        language: language of files that do not tell it.

    Raises:
        UserError: nothing is there, a file is none that `scan_corpus` takes, or an id has white space or NUL.
    """
    wanted = ray.put(pa.array(sorted(ids), pa.large_string()))
    task = ray.remote(_known)
    try:
        return set(ids).difference(*ray.get([task.remote(file, language, wanted) for file in _files(corpus)]))
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, UserError) else error) from None


def _known(file: str, language: str | None, wanted: pa.Array) -> list[str]:
    keys = _format(file).scan_file(file, language, TOGETHER).keys
    if (row := pc.index(pc.match_substring_regex(keys, UNHELD), True).as_py()) >= 0:
        raise UserError(f"{file} row {row}: id {keys[row].as_py()!r} has white space or NUL, which TREC files cannot hold")
    known: list[str] = keys.filter(pc.is_in(keys, value_set=wanted)).to_pylist()
    return known


def plan_parts(files: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[Part]:
    """Name the spans of each file."""
    pairs = ((file, span) for file, of_file in zip(files, spans, strict=True) for span in of_file)
    return [Part(f"{number:06d}-{span.language}", file, *span) for number, (file, span) in enumerate(pairs)]


def groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts in order, grouped by what should be read in one go: those of a file that is compressed as a whole."""

    def of(part: Part) -> str:
        return part.file if part.file.endswith(jsonl_documents.COMPRESSED) else part.name

    return [list(group) for _, group in groupby(parts, of)]


def read_texts(group: Sequence[Part]) -> Iterator[Texts]:
    """The documents of each part of a group.

    Raises:
        UserError: a text is missing or no string, or the file has changed since the parts were fixed.
    """
    spans = [Span(part.language, part.start, part.stop, part.rows) for part in group]
    return _format(group[0].file).read_spans(group[0].file, spans) if group else iter(())


def _files(corpus: str) -> list[str]:
    found = storage.expand(corpus, (".parquet", *jsonl_documents.SUFFIXES))
    beir = {file.rpartition("/")[0] for file in found if file.endswith(jsonl_documents.SUFFIXES) and _is_corpus(file)}
    others = {file for file in found if file.rpartition("/")[0] in beir and not _is_corpus(file)}
    for file in sorted(others):
        log.info("%s is no corpus file: its folder has a corpus.jsonl", file)
    return [file for file in found if file not in others]


def _is_corpus(file: str) -> bool:
    return stem(file) == "corpus"


class DocumentFormat(Protocol):
    """What a module for a format of documents has."""

    def scan_file(self, file: str, language: str | None, part_rows: int) -> Scanned: ...

    def read_spans(self, file: str, spans: Sequence[Span]) -> Iterator[Texts]: ...


def _format(file: str) -> DocumentFormat:
    return jsonl_documents if file.endswith(jsonl_documents.SUFFIXES) else parquet_documents


def _scan(file: str, language: str | None, part_rows: int) -> tuple[np.ndarray, list[Span]]:
    """A hash of each row's id, uint64 [rows], and the file's spans."""
    import pandas as pd  # here, since an encoder's actor does without

    scanned: Scanned = _format(file).scan_file(file, language, part_rows)
    hashes = np.empty(len(scanned.keys), dtype=np.uint64)
    for start in range(0, len(hashes), TOGETHER):
        some = scanned.keys.slice(start, TOGETHER).to_numpy()
        hashes[start : start + TOGETHER] = pd.util.hash_array(some, categorize=False)
    return hashes, scanned.spans


def _refuse_duplicates(files: Sequence[str], hashes: Sequence[np.ndarray], language: str | None) -> None:
    together = np.concatenate(hashes)
    together.sort()
    repeated = np.unique(together[1:][together[1:] == together[:-1]])
    if not len(repeated):
        return
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file, of_file in zip(files, hashes, strict=True):
        rows = np.flatnonzero(np.isin(of_file, repeated[:NAMED]))
        if len(rows):
            keys = _format(file).scan_file(file, language, len(of_file)).keys.take(rows).to_pylist()
            for key, row in zip(keys, rows, strict=True):
                places[key].append(f"{file} row {row}")
    # two ids of one hash are no duplicates
    for key, where in places.items():
        if len(where) > 1:
            others = f"; {len(repeated) - 1} other ids are repeated too" if len(repeated) > 1 else ""
            raise UserError(f"document {key} occurs twice: {where[0]} and {where[1]}{others}")
