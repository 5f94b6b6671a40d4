"""What a search finds, ranked lists and ranks, and how those of a pool of languages are made of its languages'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hbt_ray.config import UserError
from hbt_ray.languages import canonical
from hbt_ray.search.found import Found


class Hits(NamedTuple):
    """Ranked lists of equal length, best first.

    Attributes:
        ids: ids of the documents, str [queries, k].
        scores: fp32 [queries, k].
    """

    ids: np.ndarray
    scores: np.ndarray


class Above(NamedTuple):
    """Where relevant documents stand, one row for each (query, relevant document), in order of the queries.

    The document's rank in a pool of languages is 1 + the sum of those languages' counts.

    Attributes:
        queries: row of the query, int64 [pairs].
        documents: id of the document, str [pairs].
        languages: column of the document's own language in `counts`, int64 [pairs].
        counts: documents of each language of the searcher that rank above this one, int64 [pairs, languages].
    """

    queries: np.ndarray
    documents: np.ndarray
    languages: np.ndarray
    counts: np.ndarray


class Wanted(NamedTuple):
    """Relevant documents of queries, one row each, in order of the queries.

    Attributes:
        queries, documents, languages: as in `Above`.
        offsets: query q's documents are those from offsets[q] to offsets[q + 1], int64 [queries + 1].
    """

    queries: np.ndarray
    documents: np.ndarray
    languages: np.ndarray
    offsets: np.ndarray

    def refuse_absent(self, scores: np.ndarray) -> None:
        """Check that every document has a score.

        Args:
            scores: fp32 [documents].

        Raises:
            UserError: a document has the score NaN, so no place knows it.
        """
        if np.isnan(scores).any():
            raise UserError(f"the index has no document {self.documents[np.isnan(scores)][0]}")


def asked_for(relevant: Sequence[Sequence[str]], languages: Sequence[str]) -> Wanted:
    """The relevant documents of all queries, one row each.

    Args:
        relevant: ids (`lang:docid`) of each query's documents.
        languages: languages of the documents there are.

    Raises:
        UserError: a document is of another language.
    """
    sizes = np.array([len(ids) for ids in relevant], dtype=np.int64)
    documents = np.array([key for ids in relevant for key in ids], dtype=object)
    column = {language: i for i, language in enumerate(languages)}
    own = np.array([column.get(key.partition(":")[0], -1) for key in documents], dtype=np.int64)
    if (own < 0).any():
        raise UserError(f"the index has no document {documents[own < 0][0]}")
    return Wanted(np.repeat(np.arange(len(relevant)), sizes), documents, own, np.append(0, np.cumsum(sizes)))


def in_order(languages: Iterable[str]) -> tuple[str, ...]:
    """The languages in the descending order of their documents' ids."""
    return tuple(sorted(languages, key=_order, reverse=True))


def merge(lists: Mapping[str, Hits], k: int, queries: int) -> Hits:
    """The k best of several languages' lists, exactly as one index of all of them would rank.

    Args:
        lists: language to its lists, each of at least min(k, documents of the language).
        queries: number of queries, which an empty mapping does not tell.
    """
    if not lists:
        return Hits(np.empty((queries, 0), dtype=object), np.empty((queries, 0), dtype=np.float32))
    parts = [lists[language] for language in in_order(lists)]
    ids, scores = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # stable: ties stay in descending order of ids
    return Hits(np.take_along_axis(ids, best, axis=1), np.take_along_axis(scores, best, axis=1))


def hits(found: Found) -> Hits:
    """The lists with an id, not a place, for each document."""
    return Hits(found.ids.to_numpy(zero_copy_only=False)[found.places], found.scores)


def pool(rows: Mapping[str, int], languages: Sequence[str] | None) -> list[str]:
    """The languages to search in, each once, as `rows` spells them; all of `rows` when None.

    Args:
        languages: tags in any spelling. One that `rows` has not as it is means all that are the same language to us.

    Raises:
        UserError: there is no document in one of them.
    """
    there = [name for name in rows if rows[name]]
    if languages is None:
        return there
    chosen: dict[str, None] = {}
    for language in languages:
        same = [language] if language in there else [n for n in there if canonical(n) == canonical(language)]
        if not same:
            raise UserError(f"the index has no language {language}; it has {', '.join(sorted(rows))}")
        chosen |= dict.fromkeys(same)
    return list(chosen)


def checked_queries(queries: np.ndarray, width: int, k: int = 1) -> np.ndarray:
    """The queries, numbers [queries, width], as fp32 [queries, width].

    Raises:
        UserError: their width or a number in them is wrong, or k, the length of the lists, is.
    """
    if k < 1:
        raise UserError(f"k is {k} and must be at least 1")
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != width:
        raise UserError(f"queries are {list(queries.shape)} and the index is {width} wide")
    if not np.isfinite(queries).all():
        raise UserError("a query vector is not finite")
    return queries


def _order(language: str) -> str:
    """Ids begin with this, so languages in this order have their ids in order."""
    return f"{language}:"
