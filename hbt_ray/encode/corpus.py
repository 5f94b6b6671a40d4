"""A corpus: its files, whether its ids are unique, the fixed parts it is encoded in, and the texts of a part."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import RayTaskError

from hbt_ray import storage
from hbt_ray.config import Duplicates, UserError
from hbt_ray.encode import jsonl_documents, parquet_documents
from hbt_ray.encode.documents import hash_strings
from hbt_ray.encode.spans import Part, Scanned, Span, Texts
from hbt_ray.storage.text_files import stem

TOGETHER = 65536  # ids that are hashed at once, for which they become Python's strings
UNHELD = r"[\s\p{Z}\x00\x0b\x1c-\x1f\x85]"  # what a field of a TREC file cannot hold, for RE2: \s of Python, and NUL
SMALL = 2**26  # bytes of a file whose ids are read in this process
NAMED = 1000  # repeated ids that are looked up to name one
log = logging.getLogger(__name__)
T = TypeVar("T")


class Corpus(NamedTuple):
    """The files of a corpus, and the parts it is encoded in.

    Attributes:
        files: URI and size [bytes] of each file, in order.
        parts: all parts, in order of file, language and row.
        duplicates: number of documents that were left out, since their ids come again.
        documents: hashes of all documents in order of the parts, uint64 [documents, 2], if they were asked for.
    """

    files: list[tuple[str, int]]
    parts: list[Part]
    duplicates: int = 0
    documents: np.ndarray | None = None

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


def scan_corpus(
    corpus: str,
    part_rows: int,
    language: str | None = None,
    duplicates: Duplicates = "error",
    texts: bool = False,
) -> Corpus:
    """Check ids and languages of the file, folder or glob `corpus` and fix its parts.

    Memory here is two 8-byte hashes a document, and four with those of the texts. A task that scans a file holds the
    file's ids besides.

    Args:
        language: language of files that do not tell it.
        texts: whether the hashes of the documents are wanted, for which all texts are read.
        duplicates: what is done about a `lang:docid` that occurs twice: `error`, or `last`: that of the last file and
            row counts.

    Raises:
        UserError: nothing is there, a file is truncated or not a corpus file, there is no document, an id or language
            is missing, or a `lang:docid` occurs twice. Rows are counted from 0.
    """
    found = _files(corpus)
    hashes, bodies, spans = zip(*_of_each(_scan, found, language, (part_rows, texts)), strict=True)
    parts = plan_parts(found, spans)
    if not parts:
        raise UserError(f"the corpus {corpus} is empty")
    earlier = _duplicates(found, [keys for keys, _ in hashes], language, duplicates)
    counts = _counting(parts, earlier)
    left = [
        part.choosing(counts[stop - part.rows : stop])
        for part, stop in zip(parts, np.cumsum([part.rows for part in parts]).tolist(), strict=True)
    ]
    documents = None
    if texts:
        keys = np.concatenate([keys if order is None else keys[order] for keys, order in hashes])
        documents = np.stack([keys, np.concatenate(bodies)], axis=1)[counts]
    return Corpus(
        [(file, storage.size(file)) for file in found],
        [part for part in left if part.rows],
        sum(map(len, earlier.values())),
        documents,
    )


def absent(corpus: str, ids: Collection[str], language: str | None = None) -> set[str]:
    """The ids among `ids` (`lang:docid`) that the corpus does not have; all of the corpus's must fit into a TREC file.

    A task that scans a file holds the file's ids.

    Args:
        language: language of files that do not tell it.

    Raises:
        UserError: nothing is there, a file is none that `scan_corpus` takes, or an id has white space or NUL.
    """
    wanted = pa.array(sorted(ids), pa.large_string())
    found = _files(corpus)
    return set(ids).difference(*_of_each(_known, found, language, wanted))


def _of_each(function: Callable[..., T], files: Sequence[str], language: str | None, told: Any) -> list[T]:
    """`function(file, language, told)` of each file, in tasks; of a single small one here, which takes no cluster.

    Raises:
        UserError: as the function does.
    """
    if len(files) == 1 and storage.size(files[0]) <= SMALL:
        return [function(files[0], language, told)]
    task, reference = ray.remote(function), ray.put(told)
    try:
        found: list[T] = ray.get([task.remote(file, language, reference) for file in files])
        return found
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, UserError) else error) from None


def _known(file: str, language: str | None, wanted: pa.Array) -> list[str]:
    keys = _format(file).scan_file(file, language, TOGETHER).keys
    if (row := pc.index(pc.match_substring_regex(keys, UNHELD), True).as_py()) >= 0:
        raise UserError(
            f"{file} row {row}: id {keys[row].as_py()!r} has white space or NUL, which TREC files cannot hold"
        )
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
    spans = [Span(part.language, part.start, part.stop, part.held or part.rows) for part in group]
    found = _format(group[0].file).read_spans(group[0].file, spans) if group else iter(())
    for part, texts in zip(group, found, strict=True):
        if part.held:
            texts = texts.take(part.places.tolist())
        yield texts


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

    def scan_file(self, file: str, language: str | None, part_rows: int, texts: bool = False) -> Scanned: ...

    def read_spans(self, file: str, spans: Sequence[Span]) -> Iterator[Texts]: ...


def _format(file: str) -> DocumentFormat:
    return jsonl_documents if file.endswith(jsonl_documents.SUFFIXES) else parquet_documents


def _scan(
    file: str, language: str | None, told: tuple[int, bool]
) -> tuple[tuple[np.ndarray, np.ndarray | None], np.ndarray | None, list[Span]]:
    """The hash of each row's id, uint64 [rows], and the order of the rows in the file's spans; the hashes of the texts
    in that order; and the spans.

    Args:
        told: largest part [rows], and whether the texts are read.
    """
    scanned: Scanned = _format(file).scan_file(file, language, *told)
    keys = [
        hash_strings(scanned.keys.slice(start, TOGETHER).to_pylist()) for start in range(0, len(scanned.keys), TOGETHER)
    ]
    hashes = np.concatenate([np.empty(0, dtype=np.uint64), *keys])
    bodies = scanned.texts if scanned.texts is None or scanned.order is None else scanned.texts[scanned.order]
    return (hashes, scanned.order), bodies, scanned.spans


def _duplicates(
    files: Sequence[str], hashes: Sequence[np.ndarray], language: str | None, rule: Duplicates
) -> dict[str, list[tuple[str, int]]]:
    """By file, the language of every document whose id comes again, and its place among those in its language.

    Raises:
        UserError: there is one, and the rule is `error`.
    """
    together = np.concatenate(hashes)
    together.sort()
    repeated = np.unique(together[1:][together[1:] == together[:-1]])
    wanted = repeated[:NAMED] if rule == "error" else repeated
    seen: dict[str, tuple[str, int, int]] = {}  # file, row, and place in its language, of the last so far
    earlier: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for file, of_file in zip(files, hashes, strict=True) if len(repeated) else ():
        rows = np.flatnonzero(np.isin(of_file, wanted))
        if not len(rows):
            continue
        keys = _format(file).scan_file(file, language, len(of_file)).keys
        places = _places(keys, rows) if rule == "last" else rows
        for key, row, place in zip(keys.take(rows).to_pylist(), rows.tolist(), places.tolist(), strict=True):
            if key in seen:  # two ids of one hash are no duplicates
                first, at, before = seen[key]
                if rule == "error":
                    others = f"; {len(repeated) - 1} other ids are repeated too" if len(repeated) > 1 else ""
                    raise UserError(
                        f"document {key} occurs twice: --duplicates last takes the last of {first} row {at} and"
                        f" {file} row {row}{others}"
                    )
                earlier[first].append((key.partition(":")[0], before))
            seen[key] = file, row, place
    return earlier


def _places(keys: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """The place of each of the rows among the file's rows of its language, int64 [rows]."""
    tags = pc.list_element(pc.split_pattern(keys, ":", max_splits=1), 0).combine_chunks().dictionary_encode()
    codes = tags.indices.to_numpy(zero_copy_only=False)
    places = np.empty(len(codes), dtype=np.int64)
    for code in range(len(tags.dictionary)):
        own = codes == code
        places[own] = np.arange(own.sum())
    chosen: np.ndarray = places[rows]
    return chosen


def _counting(parts: Sequence[Part], earlier: Mapping[str, Sequence[tuple[str, int]]]) -> np.ndarray:
    """Which documents count, bool [documents of all parts], all but these."""
    counts = np.ones(sum(part.rows for part in parts), dtype=bool)
    first: dict[tuple[str, str], int] = {}  # place of a file's first document of a language
    place = 0
    for part in parts:
        first.setdefault((part.file, part.language), place)
        place += part.rows
    for file, found in earlier.items():
        for language, among in found:
            counts[first[file, language] + among] = False
    return counts
