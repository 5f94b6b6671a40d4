"""WebFAQ: questions and answers of FAQ pages, and pairs of them that are translations of each other.

Questions: `question` and `answer`, besides `id`, `origin`, `url` and labels, in a file or folder named by the
language's ISO 639-3 code: `data/deu.jsonl` of PaDaS-Lab/webfaq, `data/deu.parquet` of webfaq-v2. Bitexts: `question1`,
`answer1`, `question2`, `answer2`, the languages in `language1` and `language2` or else in the file's name:
`data/ara_deu.jsonl` of PaDaS-Lab/webfaq-bitexts, `data/ara-deu.jsonl.gz` of those of version 2
(github.com/padas-lab-de/webfaq, src/webfaq/cli).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import parquet, rows
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.sources.lines import Row

QUESTIONS = ("question", "answer")
BITEXTS = ("question1", "answer1", "question2", "answer2")
NAME = re.compile(r"(?:^|/)([a-z]{3})(?:/[^/]+)?\.[a-z.]+$")
PAIR = re.compile(r"(?:^|/)([a-z]{3})[-_]([a-z]{3})(?:/[^/]+)?\.[a-z.]+$")


def read_webfaq(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a question and its answer.

    Raises:
        UserError: the file is missing or truncated, is of another format, or nothing tells its language.
    """
    sides = rows.languages_of(piece, layout, languages_in_name(piece.uri).get("lang"))
    return records.tables(
        rows.bad(row)
        if row.problem
        else {
            "row": row.number,
            "source": layout.name,
            "query_lang": sides[0],
            "passage_lang": sides[1],
            "query": row.values["question"],
            "passage": row.values["answer"],
        }
        for row in rows.read_rows(piece, QUESTIONS)
    )


def read_webfaq_bitexts(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """Two records a row, one a language, of one group.

    Raises:
        UserError: the file is missing or truncated, is of another format, or nothing tells its languages.
    """
    rows.refuse_languages(piece, layout)
    match = PAIR.search(piece.uri)
    named = (match[1], match[2]) if match else None
    return records.tables(
        record
        for row in rows.read_rows(piece, BITEXTS, ("language1", "language2"))
        for record in _translations(row, layout.name, piece.uri, named)
    )


def _translations(row: Row, source: str, uri: str, named: tuple[str, str] | None) -> Iterator[dict[str, Any]]:
    if row.problem:
        yield rows.bad(row)
        return
    told = (row.values.get("language1"), row.values.get("language2"))
    sides = named if None in told else told
    if sides is None:
        raise UserError(f"{uri} row {row.number + 1} has no language1 and language2; nor does the name tell them")
    group = records.group_of(str(row.values[name]) for name in BITEXTS)
    for place, language in enumerate(sides, start=1):
        yield {
            "row": row.number,
            "source": source,
            "group": group,
            "query_lang": language,
            "passage_lang": language,
            "query": row.values[f"question{place}"],
            "passage": row.values[f"answer{place}"],
        }


def languages_in_name(path: str) -> dict[str, str]:
    """The column `lang` that a file's or its folder's name tells, as `{"lang": "deu"}` of `data/deu.parquet`."""
    match = NAME.search(path)
    return {"lang": match[1]} if match and languages.is_common(match[1]) else {}


WEBFAQ = Source(read_webfaq, rows.SUFFIXES, parquet.row_groups, path_columns=languages_in_name)
WEBFAQ_BITEXTS = Source(read_webfaq_bitexts, rows.SUFFIXES, parquet.row_groups, keys=BITEXTS)
