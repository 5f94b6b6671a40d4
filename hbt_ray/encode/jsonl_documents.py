"""Documents a line: JSON with `_id` (BEIR), `docid` (MIRACL, Mr. TyDi) or `id` (NeuCLIR), `title` and `text`.

Or id, tab and text, as MS MARCO and mMARCO have them in files named `…collection.tsv`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hbt_ray import languages, storage
from hbt_ray.config import UserError
from hbt_ray.encode.documents import hash_texts
from hbt_ray.encode.parquet_documents import folder_language
from hbt_ray.encode.spans import Scanned, Span, Texts, Titled, titled
from hbt_ray.parsing import parse_json
from hbt_ray.storage import text_files

COMPRESSED = (".jsonl.gz", ".jsonl.xz")
TABLE = "collection.tsv"
SUFFIXES = (".jsonl", TABLE, *COMPRESSED)
KEYS = ("_id", "docid", "id")
NAMES = re.compile(  # the language, by tag or English name, where the hub has a folder or file for each
    r"(?:^|/)(?:(?:miracl-corpus|mrtydi)-v[0-9.]+-([A-Za-z-]+)/[^/]+"
    r"|([a-z]+)_collection\.tsv"
    r"|([a-z]{3})-\d+-of-\d+\.\S+)$"
)


def scan_file(file: str, language: str | None, part_rows: int, texts: bool = False) -> Scanned:
    """The ids of a file, and its spans of at most `part_rows` rows.

    Args:
        language: language of the file, when its folder does not tell it.
        texts: whether the hashes of the texts are wanted.

    Raises:
        UserError: the file is missing or truncated, its language is not known, or a row is no document.
    """
    tag = _language(file, folder_language(file, language))
    chunks: list[pa.Array] = []
    spans: list[Span] = []
    keys: list[str] = []  # of the span at hand: as Python's strings they take several times the memory
    bodies: list[str | None] = []  # likewise
    hashes = [np.empty(0, dtype=np.uint64)]
    start = stop = 0

    def end_span() -> None:
        chunks.append(pa.array(keys, pa.large_string()))
        spans.append(Span(tag, start, stop, len(keys)))
        keys.clear()
        hashes.append(hash_texts(bodies))
        bodies.clear()

    with text_files.opened(file) as opened:
        start = stop = opened.tell()
        for row, line in enumerate(text_files.lines(opened)):
            if line is None:
                raise text_files.too_long(file, row + 1)
            document = _checked(line, file, row)
            keys.append(f"{tag}:{_id_of(document)}")
            if texts:
                one = _text_of(document)
                bodies.append(one and one.text)
            stop += len(line)
            if len(keys) == part_rows:
                end_span()
                start = stop
    if keys:
        end_span()
    found = np.concatenate(hashes) if texts else None
    return Scanned(pa.chunked_array(chunks, pa.large_string()), spans, texts=found)


def read_spans(file: str, spans: Sequence[Span]) -> Iterator[Texts]:
    """The documents of each of the spans, which are in order of the file.

    Raises:
        UserError: a text is missing, or the file has changed since the spans were fixed.
    """
    for span, data in zip(spans, _stretches(file, spans), strict=True):
        try:
            documents = [_document(line, file) for line in data.removesuffix(b"\n").split(b"\n")]
            ids = [f"{span.language}:{_id_of(document)}" for document in documents]
        except (ValueError, LookupError):
            documents = []
        if len(documents) != span.rows:
            raise UserError(f"{file} changed while it was being encoded")
        found = []
        for key, document in zip(ids, documents, strict=True):
            if (one := _text_of(document)) is None:
                raise UserError(f"{file}: document {key} has no text")
            found.append(one)
        yield Texts(ids, [one.text for one in found], [one.title for one in found])


def _stretches(file: str, spans: Sequence[Span]) -> Iterator[bytes]:
    if not file.endswith(COMPRESSED):
        for span in spans:
            yield storage.read_ranges([(file, span.start, span.stop)])[0]
        return
    with text_files.opened(file) as whole:  # which is read once from its beginning
        for span in spans:
            whole.seek(span.start)
            yield whole.read(span.stop - span.start)


def _text_of(document: Any) -> Titled | None:
    """The text of a document with its title in front; None when it has none."""
    text = document.get("text")
    return titled(document.get("title"), text) if isinstance(text, str) else None


def _checked(line: bytes, file: str, row: int) -> Any:
    """The document of a line, which has an id.

    Raises:
        UserError: the line is none.
    """
    try:
        document = _document(line, file)
        key = _id_of(document)
        if b"\\ud" in line.lower():  # perhaps half a surrogate pair, which is no character
            "".join(
                value for value in (key, document.get("title"), document.get("text")) if isinstance(value, str)
            ).encode()
        return document
    except UnicodeError as error:
        raise UserError(f"{file} row {row} is not UTF-8: {error}") from None
    except LookupError:
        raise UserError(f"{file} row {row} has no {' or '.join(KEYS)}") from None
    except ValueError:
        raise UserError(
            f"{file} row {row} is {'no id, tab and text' if file.endswith(TABLE) else 'no JSON object'}"
        ) from None


def _document(line: bytes, file: str) -> Any:
    """The value of a line.

    Raises:
        ValueError: the line is not of the file's format.
    """
    if not file.endswith(TABLE):
        return parse_json(line.decode("utf-8"))
    key, tab, text = line.decode("utf-8").rstrip("\r\n").partition("\t")
    if not tab:
        raise ValueError
    return {"_id": key, "text": text}


def _id_of(document: Any) -> str:
    """The id of a document.

    Raises:
        ValueError: it is no JSON object.
        LookupError: it has no id.
    """
    if not isinstance(document, dict):
        raise ValueError
    key = next((document[name] for name in KEYS if name in document), None)
    if not isinstance(key, str) or not key:
        raise LookupError
    return key


def _language(file: str, language: str | None) -> str:
    found = NAMES.search(file)
    name = next(filter(None, found.groups())) if found else None
    tag = (languages.named(name) or languages.normalize(name)) if name else language
    if tag is None:
        raise UserError(f"{file} does not tell its language: name it with --language")
    return languages.canonical(tag)
