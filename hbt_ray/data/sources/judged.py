"""Passages joined with the queries they answer, where a data set keeps them apart and names the pairs by ids.

Queries and pairs of one language are held in memory: for the half million training queries of MS MARCO some 280 MB. The
passages pass by one by one, however many they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import rows
from hbt_ray.data.sources.layout import Layout
from hbt_ray.storage import text_files, trec


class Judged(NamedTuple):
    """What is held of one language.

    Attributes:
        queries: id to text of the queries that have a relevant passage.
        answers: id of a passage to the ids of the queries that it answers, in the judgements' order.
    """

    queries: dict[str, str]
    answers: dict[str, list[str]]


def judge(queries: Iterable[tuple[str, str]], pairs: Iterable[tuple[str, str]]) -> Judged:
    """Hold the `pairs` (ids of query and passage), each once, and the `queries` (id and text) that are in a pair."""
    answers: dict[str, list[str]] = {}
    asked: set[str] = set()
    for query, passage in dict.fromkeys(pairs):
        answers.setdefault(passage, []).append(query)
        asked.add(query)
    return Judged({key: text for key, text in queries if key in asked}, answers)


def pairs(
    passages: Iterable[tuple[int, str, Any]], known: Judged, source: str, languages: tuple[str, str], prefix: str = ""
) -> Iterator[dict[str, Any]]:
    """A record of each query that one of the `passages` (row, id, text) answers.

    A query without text makes a record with an empty query, which the check of records finds.

    Args:
        languages: of the queries and of the passages.
        prefix: what stands before a query's id in its group, where the ids of another language mean other queries.
    """
    for row, key, text in passages:
        for query in known.answers.get(key, ()):
            yield {
                "row": row,
                "source": source,
                "group": f"{prefix}{query}",
                "query_lang": languages[0],
                "passage_lang": languages[1],
                "query": known.queries.get(query),
                "passage": text,
            }


def read_corpus(
    piece: FilePiece, layout: Layout, language: str, queries: Sequence[str], qrels: Sequence[str]
) -> Iterator[pa.Table]:
    """Records of the passages of a file of JSON lines, with `docid`, `title` and `text` or with `id` and `contents`.

    Args:
        language: of queries and passages, as the corpus's folder tells it.
        queries, qrels: where the file of queries and that of judgements may lie.

    Raises:
        UserError: a file is missing or truncated, or a line is of another format.
    """
    sides = rows.languages_of(piece, layout, language)
    known = judge(
        ((key, text) for _, key, text in trec.read_texts(find(layout, "queries", piece.uri, queries))),
        trec.read_pairs(find(layout, "qrels", piece.uri, qrels)),
    )
    return records.tables(pairs(_passages(piece.uri), known, layout.name, sides, f"{language}-"))


def find(layout: Layout, setting: str, uri: str, places: Sequence[str]) -> str:
    """The file that `--columns setting=URI` names, or else the first of the `places` that is there.

    Raises:
        UserError: none is there, or the named one is no absolute path.
    """
    if setting in layout.columns:
        return named(layout, setting)
    for place in places:
        if storage.exists(place):
            return place
    raise UserError(f"{uri}: no {setting} at {' or '.join(places)}; name the file with --columns {setting}=URI")


def named(layout: Layout, setting: str) -> str:
    """The file that `--columns setting=URI` names.

    Raises:
        UserError: it is no absolute path, which is what means the same in every process.
    """
    uri = layout.columns[setting]
    if "://" not in uri and not uri.startswith("/"):
        raise UserError(f"--columns {setting}={uri}: say an absolute path or a URI")
    return uri


def above(uri: str, levels: int = 1) -> str:
    """The folder that lies `levels` above the file."""
    return uri.rsplit("/", levels)[0]


def _passages(uri: str) -> Iterator[tuple[int, str, Any]]:
    for number, line in text_files.json_lines(uri):
        key = line and line.get("docid", line.get("id"))
        text = line and line.get("text", line.get("contents"))
        if line is None or key is None or text is None:
            raise UserError(f"{uri} line {number + 1} is no passage: it needs docid and text, or id and contents")
        yield number, str(key), rows.titled(line.get("title"), text)
