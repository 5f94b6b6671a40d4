"""Training data of Tevatron, in its first form with the passages in the row, or its second with their ids.

First: `{"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": [the same]}`.
Second: `{"query_id", "query_text", "positive_document_ids": [str], "negative_document_ids": [str]}` and, apart, a
corpus of `{"docid", "title", "text"}`; here the corpus is the input, and `--columns queries=URI` names the file of
queries (github.com/texttron/tevatron, docs/datasets.md and src/tevatron/retriever/dataset.py). Title and text are
joined by a space.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import judged, parquet, rows
from hbt_ray.data.sources.layout import Layout, Source

FIRST = ("query", "positive_passages")
SECOND = ("query_id", "query_text", "positive_document_ids")
CORPUS = ("docid", "text")


def read_tevatron(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a positive, with all negatives of its row in the first form and without any in the second.

    In the second form a record is made where its passage is read, from the queries and their positives' ids, which are
    held in memory; the negatives may lie anywhere in the corpus and are left out. The group is the query's id.

    Raises:
        UserError: a file is missing or truncated, is of another format, or nothing tells its language.
    """
    languages = rows.languages_of(piece, layout)
    if "queries" in layout.columns:
        known = _queries(judged.named(layout, "queries"))
        return records.tables(judged.pairs(_passages(piece), known, layout.name, languages))
    return records.tables(_first(piece, layout.name, languages))


def _first(piece: FilePiece, source: str, languages: tuple[str, str]) -> Iterator[dict[str, Any]]:
    for row in rows.read_rows(piece, FIRST, ("query_id", "negative_passages")):
        try:
            negatives = [_text(passage) for passage in row.values.get("negative_passages") or []]
            positives = [_text(passage) for passage in row.values["positive_passages"]]
        except (AttributeError, KeyError, TypeError):
            yield rows.bad(row)
            continue
        if not positives:
            yield rows.bad(row, "passage is empty: the row has no positive")
        for positive in positives:
            yield {
                "row": row.number,
                "source": source,
                "group": row.values.get("query_id"),
                "query_lang": languages[0],
                "passage_lang": languages[1],
                "query": row.values["query"],
                "passage": positive,
                "negatives": negatives,
            }


def _text(passage: dict[str, Any]) -> Any:
    return rows.titled(passage.get("title"), passage["text"])


def _queries(uri: str) -> judged.Judged:
    texts: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for row in rows.read_rows(FilePiece(uri), SECOND):
        key, text, positives = (row.values.get(name) for name in SECOND)
        if row.problem or not isinstance(text, str) or not isinstance(positives, list):
            raise UserError(f"{uri} row {row.number + 1} is no query of Tevatron: it needs {', '.join(SECOND)}")
        texts[str(key)] = text
        pairs += [(str(key), str(document)) for document in positives]
    return judged.judge(texts.items(), pairs)


def _passages(piece: FilePiece) -> Iterator[tuple[int, str, Any]]:
    for row in rows.read_rows(piece, CORPUS, ("title",)):
        if row.problem:
            raise UserError(f"{piece.uri} row {row.number + 1} is no passage: it needs {', '.join(CORPUS)}")
        yield row.number, str(row.values["docid"]), _text(row.values)


TEVATRON = Source(read_tevatron, rows.SUFFIXES, parquet.row_groups, keys=FIRST)
