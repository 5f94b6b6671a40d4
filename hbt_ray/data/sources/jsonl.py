"""JSON lines in two forms: a passage with its questions, or one sentence in several languages.

A passage: `{source, p_lang, passage, qas: [{id, q_lang, question, …}], …}`. Translations: `{id, t: {lang: text}, …}`,
which give bitext. Lines of other keys are tables: *pairs*, *parallel* or *bitext*.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import lines
from hbt_ray.data.sources.layout import Layout, Source

PASSAGE = ("p_lang", "passage", "qas")
QUESTION = ("q_lang", "question")
TRANSLATIONS = ("id", "t")
EXPECTED = f"expected {', '.join(PASSAGE)}, or {', '.join(TRANSLATIONS)}, or --source pairs, parallel or bitext"


def read_jsonl(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """Records of a file in either form; a line that has neither is a record with a problem.

    Raises:
        UserError: the file is missing or truncated, or a language is given, which the lines tell.
    """
    if language := layout.query_language or layout.passage_language:
        raise UserError(
            f"{piece.uri}: its lines tell their languages, so {language} cannot be that of all: leave it out"
        )
    return records.tables(_rows(piece.uri, layout.name))


def _rows(uri: str, name: str) -> Iterator[dict[str, Any]]:
    for row in lines.rows(uri):
        problem = row.problem or _problem(row.values)
        if problem:
            yield {"row": row.number, "problem": problem}
        elif "t" in row.values:
            yield from _translations(row.values, row.number, name)
        else:
            yield from _questions(row.values, row.number, name)


def _problem(line: dict[str, Any]) -> str | None:
    """What keeps a line from having one of the two forms."""
    found = f"{records.NOT_OF_FORMAT}: keys {', '.join(line) or 'none'}; {EXPECTED}"
    if "t" in line:
        return None if "id" in line and isinstance(line["t"], dict) else found
    if not all(key in line for key in PASSAGE) or not isinstance(line["qas"], list):
        return found
    for question in line["qas"]:
        if not isinstance(question, dict) or not all(key in question for key in QUESTION):
            keys = ", ".join(question) if isinstance(question, dict) else type(question).__name__
            return f"{records.NOT_OF_FORMAT}: a question has {keys}; expected {', '.join(QUESTION)}"
    return None


def _translations(line: dict[str, Any], number: int, source: str) -> Iterator[dict[str, Any]]:
    for language, text in line["t"].items():
        yield {
            "row": number,
            "source": source,
            "group": line["id"],
            "query_lang": language,
            "passage_lang": language,
            "query": text,
            "passage": text,
            "bitext": True,
        }


def _questions(line: dict[str, Any], number: int, name: str) -> Iterator[dict[str, Any]]:
    for question in line["qas"]:
        yield {
            "row": number,
            "source": line.get("source") or name,
            "group": None,  # ids are not shared by translations
            "query_lang": question["q_lang"],
            "passage_lang": line["p_lang"],
            "query": question["question"],
            "passage": line["passage"],
        }


JSONL = Source(read_jsonl, lines.JSON)
