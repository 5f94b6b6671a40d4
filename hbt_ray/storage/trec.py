"""Texts and topics as TSV (`id<tab>text`), judgements as TREC qrels (`topic Q0 document grade`) or triples of ids."""

from __future__ import annotations

from collections.abc import Iterator

from hbt_ray.config import UserError
from hbt_ray.storage import text_files


def read_texts(uri: str) -> Iterator[tuple[int, str, str]]:
    """The number from 1, id and text of each line; a text may be empty.

    Raises:
        UserError: the file is missing or truncated, or a line has no id and tab.
    """
    for number, line in _lines(uri):
        key, tab, text = line.partition("\t")
        if not tab or not key.strip():
            raise UserError(f"{uri} line {number} is {line[:60]!r}, not an id, a tab and a text")
        yield number, key.strip(), text.strip()


def read_topics(uri: str) -> Iterator[tuple[str, str]]:
    """The id and text of each topic.

    Raises:
        UserError: the file is missing or truncated, or a line is no topic.
    """
    for number, line in _lines(uri):
        key, tab, text = line.partition("\t")
        if not tab or not key.strip() or not text.strip():
            raise UserError(f"{uri} line {number} is no topic: {line[:60]!r} is not an id, a tab and a text")
        yield key.strip(), text.strip()


def read_qrels(uri: str) -> Iterator[tuple[str, str, int]]:
    """The topic, document and grade of each judgement.

    Raises:
        UserError: the file is missing or truncated, or a line is no judgement.
    """
    for number, line in _lines(uri):
        fields = line.split()
        if len(fields) != 4:
            raise UserError(
                f"{uri} line {number} is no judgement: {line[:60]!r} is not topic, iteration, document, grade"
            )
        yield fields[0], fields[2], _grade(fields[3], uri, number)


def read_pairs(uri: str) -> Iterator[tuple[str, str]]:
    """The topic and document of each relevant pair in qrels, or in triples of a topic, a relevant and another document.

    Raises:
        UserError: the file is missing or truncated, or a line is neither.
    """
    for number, line in _lines(uri):
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) == 3:
            yield fields[0], fields[1]
        elif len(fields) != 4:
            raise UserError(f"{uri} line {number} is {line[:60]!r}, neither a judgement nor a triple of ids")
        elif _grade(fields[3], uri, number) >= 1:
            yield fields[0], fields[2]


def read_judgements(uri: str) -> Iterator[tuple[str, str, int]]:
    """The topic, document and grade of each judgement in a file in BEIR's form.

    It has query-id, corpus-id and score as TSV with a heading, or as JSON lines.

    Raises:
        UserError: the file is missing or truncated, or a line is no judgement.
    """
    if uri.endswith(".jsonl"):
        for number, row in text_files.json_lines(uri):
            query, document = (text_files.id_of((row or {}).get(name)) for name in ("query-id", "corpus-id"))
            if row is None or query is None or document is None or "score" not in row:
                raise UserError(f"{uri} line {number + 1} is no judgement: it needs query-id, corpus-id and score")
            yield query, document, _grade(str(row["score"]), uri, number + 1)
        return
    for number, line in _lines(uri):
        fields = line.split("\t")
        if number == 1 and fields[0] == "query-id":
            continue
        if len(fields) != 3:
            raise UserError(f"{uri} line {number} is no judgement: {line[:60]!r} is not query-id, corpus-id, score")
        yield fields[0], fields[1], _grade(fields[2], uri, number)


def _lines(uri: str) -> Iterator[tuple[int, str]]:
    """Number from 1 and text of each line that is not empty."""
    for number, line in enumerate(text_files.read_lines(uri), start=1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UserError(f"{uri} line {number} is not UTF-8") from None
        if text.strip():
            yield number, text


def _grade(text: str, uri: str, number: int) -> int:
    try:
        grade = float(text)  # `1.0` in judgements that went through a table of numbers
        if grade.is_integer():
            return int(grade)
    except ValueError:
        pass
    raise UserError(f"{uri} line {number}: the grade is {text[:60]!r}, not a whole number")
