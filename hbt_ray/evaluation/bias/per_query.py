"""All measures of language bias of the lists of one pool of all languages, as columns of per_query.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray.evaluation.bias.agreement import rank_correlation
from hbt_ray.evaluation.bias.peer import Relevant, peer, peer_published
from hbt_ray.evaluation.bias.ranks import complete, max_rank, rank_distance
from hbt_ray.evaluation.bias.shares import TOP, language_preference

PEER_AT = 20  # documents: as in the example of PEER's reference code, and the cut-off of NeuCLIR's nDCG
MRC_AT = 100  # documents: what every evaluation's lists have at least
COLUMNS = (
    "rank_distance",
    "max_rank",
    f"complete@{TOP}",
    f"peer@{PEER_AT}",
    f"peer_published@{PEER_AT}",
    f"mrc@{MRC_AT}",
    f"language_preference@{TOP}",
    f"abs_language_preference@{TOP}",
)
OF_WHOLE_RANKINGS = ("rank_distance", "max_rank")  # however far down a document stands


class Heads(NamedTuple):
    """The first documents of lists, as numbers.

    Attributes:
        documents: number of each document, best first, -1 after the end of a list, int32 [queries, k].
        languages: language of the document of each number, str [documents].
    """

    documents: np.ndarray
    languages: np.ndarray


def heads(lists: Iterable[tuple[np.ndarray, np.ndarray]], queries: int) -> Heads:
    """The first `MRC_AT` documents of every query's list; a query that no list is of has an empty one.

    Args:
        lists: rows of queries, int [rows], and the ids of their lists, str [rows, k], "" after the end.
        queries: number of queries.
    """
    numbers = {"": -1}
    documents = np.full((queries, MRC_AT), -1, dtype=np.int32)
    for rows, ids in lists:
        cut = ids[:, :MRC_AT]
        coded = pa.array(cut.ravel(), pa.string()).dictionary_encode()
        known = [numbers.setdefault(key, len(numbers) - 1) for key in coded.dictionary.to_pylist()]
        documents[rows, : cut.shape[1]] = np.array(known, dtype=np.int32)[coded.indices].reshape(cut.shape)
    return Heads(documents, np.array([key.partition(":")[0] for key in list(numbers)[1:]], dtype=object))


def with_missing(judged: Sequence[np.ndarray], found: Sequence[np.ndarray], ranks: np.ndarray) -> Relevant:
    """All relevant documents, with the ranks of those that were found.

    Args:
        judged: number of the query, grade and number of the language of every relevant document, int [documents] each.
        found: the same of those that were found, int [found] each.
        ranks: rank of each document that was found, int [found].
    """
    columns = [np.concatenate(pair) for pair in zip(judged, found, strict=True)]
    widths = [1 + int(column.max(initial=0)) for column in columns]
    keys, number = np.unique(np.ravel_multi_index(tuple(columns), tuple(widths)), return_inverse=True)
    first = len(judged[0])
    absent = np.bincount(number[:first], minlength=len(keys)) - np.bincount(number[first:], minlength=len(keys))
    rest = np.unravel_index(np.repeat(keys, absent), tuple(widths))
    query, grade, language = (np.concatenate(pair) for pair in zip(found, rest, strict=True))
    return Relevant(query, grade, language, np.concatenate([ranks, np.full(len(rest[0]), np.inf)]))


def measured(
    rows: np.ndarray,
    offsets: np.ndarray,
    ranks: np.ndarray,
    relevant: Relevant,
    first: Heads,
    asked: np.ndarray,
    items: np.ndarray,
    languages: np.ndarray,
) -> dict[str, np.ndarray]:
    """The values of `COLUMNS`, float64 [lists] each, NaN where a measure has none.

    PEER weighs all grades of relevant documents that occur alike.

    Args:
        rows: the queries whose lists count, ascending, int [lists].
        offsets, ranks: as `ranks.py` has them, of these lists, int [lists + 1] and [documents].
        relevant: all relevant documents of these queries.
        first: heads of the lists of all queries.
        asked, items: language and item of every query, str [queries].
        languages: languages that `relevant` numbers, those of the pool and of judged documents, str [languages].
    """
    lists = len(rows)
    relevant = relevant._replace(queries=np.searchsorted(rows, relevant.queries))
    count = np.bincount(relevant.queries, minlength=lists)
    grades = np.unique(relevant.grades).tolist()
    weights = {grade: 1 / len(grades) for grade in grades}
    place = {language: number for number, language in enumerate(languages)}
    own = np.array([place.get(language, -1) for language in asked.tolist()], dtype=np.int64)
    of_document = np.array([place[language] for language in first.languages] + [-1], dtype=np.int64)
    of_own = relevant.languages == own[rows][relevant.queries]
    preference = language_preference(
        of_document[first.documents[rows, :TOP]], own[rows], np.bincount(relevant.queries, of_own, lists), count
    )
    codes = [np.unique(column.astype(str), return_inverse=True)[1] for column in (items, asked)]
    values = (
        rank_distance(offsets, ranks, count),
        max_rank(offsets, ranks, count),
        complete(offsets, ranks, count, TOP),
        peer(relevant, lists, PEER_AT, weights),
        peer_published(relevant, lists, PEER_AT, weights),
        rank_correlation(first.documents, *codes)[rows],
        preference,
        np.abs(preference),
    )
    return dict(zip(COLUMNS, values, strict=True))
