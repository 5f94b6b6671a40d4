"""Ranked lists in the place of whole rankings: where documents stand in them, and their parts by language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from hbt_ray.search.ranking import Above, Hits, merge


def places(
    lists: Iterable[Sequence[str]], relevant: Sequence[Sequence[str]], languages: Sequence[str], first: int = 0
) -> Above:
    """The places of those relevant documents that are in their query's list, as a `Ranker` gives them.

    Args:
        lists: ids of each query, best first; those of the end that are "" are no documents.
        relevant: ids of each query's relevant documents.
        languages: languages of the documents.
        first: number of the first query.
    """
    column = {language: place for place, language in enumerate(languages)}
    rows: list[tuple[int, str, int]] = []
    counts: list[np.ndarray] = []
    for row, (keys, wanted) in enumerate(zip(lists, relevant, strict=True), start=first):
        sought = frozenset(wanted)
        found: dict[str, np.ndarray] = {}
        before = np.zeros(len(column), dtype=np.int64)
        for key in keys if sought else ():
            if not key or len(found) == len(sought):
                break
            if key in sought:
                found[key] = before.copy()
            before[column[language_of(key)]] += 1
        rows += [(row, key, column[language_of(key)]) for key in wanted if key in found]
        counts += [found[key] for key in wanted if key in found]
    return Above(
        np.array([row for row, _, _ in rows], dtype=np.int64),
        np.array([key for _, key, _ in rows], dtype=object),
        np.array([place for _, _, place in rows], dtype=np.int64),
        np.array(counts, dtype=np.int64).reshape(len(rows), len(column)),
    )


def by_language(hits: Hits, languages: Iterable[str]) -> dict[str, Hits]:
    """The part of lists that is in each of these languages, from which `merge` makes the lists again."""
    coded = pa.array(hits.ids.ravel(), pa.string()).dictionary_encode()
    tags = np.array([language_of(key) for key in coded.dictionary.to_pylist()], dtype=object)
    spoken = tags[coded.indices.to_numpy()].reshape(hits.ids.shape) if len(tags) else hits.ids
    return {language: only(hits, spoken == language) for language in languages}


def only(hits: Hits, kept: np.ndarray) -> Hits:
    """The lists without the documents that are not kept, bool [queries, k], as short as the longest of them.

    Shorter ones end with the id "" and minus infinity.
    """
    order = np.argsort(~kept, axis=1, kind="stable")[:, : kept.sum(axis=1).max(initial=0)]
    kept = np.take_along_axis(kept, order, axis=1)
    ids, scores = (np.take_along_axis(column, order, axis=1) for column in hits)
    return Hits(np.where(kept, ids, ""), np.where(kept, scores, np.float32(-np.inf)))


def cut(hits: Hits, k: int) -> Hits:
    """The first k documents of each list."""
    return Hits(hits.ids[:, :k], hits.scores[:, :k])


def in_pool(lists: Mapping[str, Hits], pooled: bool) -> list[list[str]]:
    """The documents of each query, best first: of the pool of all languages, or of one language after another."""
    parts = list(lists.values())
    if pooled:
        found: list[list[str]] = merge(lists, sum(hits.ids.shape[1] for hits in parts), 0).ids.tolist()
        return found
    return np.concatenate([only(hits, hits.ids != "").ids for hits in parts], axis=1).tolist()


def language_of(document: str) -> str:
    """The language in the id of a document, `lang:docid`."""
    return document.partition(":")[0]
