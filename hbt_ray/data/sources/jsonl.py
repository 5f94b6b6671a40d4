"""JSON lines in two forms: a passage with its questions, or one sentence in several languages.

A passage: `{source, p_lang, passage, qas: [{id, q_lang, question, …}], …}`. Translations: `{id, t: {lang: text}, …}`,
which give bitext: a query in one language, the passage its translation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.storage.text_files import json_lines, stem


def read_jsonl(piece: FilePiece, language: str | None) -> Iterator[pa.Table]:
    """Records of a file in either form; a line that has neither is a record with a problem.

    Raises:
        UserError: the file is missing or truncated.
    """
    return records.tables(_rows(piece.uri))


def _rows(uri: str) -> Iterator[dict[str, Any]]:
    for number, line in json_lines(uri):
        try:
            assert line is not None
            yield from _translations(line, number, stem(uri)) if "t" in line else _questions(line, number, uri)
        except (AssertionError, KeyError, TypeError, AttributeError):
            yield {"row": number, "problem": "the line is neither a passage with questions nor translations"}


def _translations(line: dict[str, Any], number: int, source: str) -> list[dict[str, Any]]:
    return [
        {
            "row": number,
            "source": source,
            "group": line["id"],
            "query_lang": language,
            "passage_lang": language,
            "query": text,
            "passage": text,
            "bitext": True,
        }
        for language, text in line["t"].items()
    ]


def _questions(line: dict[str, Any], number: int, uri: str) -> list[dict[str, Any]]:
    return [
        {
            "row": number,
            "source": line["source"],
            "group": f"{uri}:{number}:{position}",  # alone in its group: these ids are not shared by translations
            "query_lang": question["q_lang"],
            "passage_lang": line["p_lang"],
            "query": question["question"],
            "passage": line["passage"],
        }
        for position, question in enumerate(line["qas"])
    ]
