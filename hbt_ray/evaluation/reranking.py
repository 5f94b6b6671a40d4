"""The first documents of every list, ranked anew by a cross-encoder; what is behind them stays there in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from hbt_ray.arrays import blocks
from hbt_ray.config import EvaluateConfig, Setting, UserError
from hbt_ray.encode import texts
from hbt_ray.evaluation import cross_encoder
from hbt_ray.evaluation.listed import by_language, cut, in_pool, places
from hbt_ray.evaluation.ranker import Ranker
from hbt_ray.evaluation.tasks.base import CorpusAt, Task
from hbt_ray.search.ranking import Above, Hits, merge

QUERIES = 2048  # searched at once


class RerankedRanker:
    """Another ranker, of whose lists the first documents are in the order of other scores; its queries are rows.

    Behind them, documents keep their order and their ranks, so that whole rankings stay whole; in lists, their scores
    are the lowest of those before, minus 1, 2 and so on. A list that has a document without score stays as it is.

    Attributes:
        languages: languages of the documents.
    """

    def __init__(self, ranker: Ranker, scores: Sequence[Mapping[str, float]], depth: int, pooled: bool) -> None:
        """Note the scores.

        Args:
            ranker: the ranker, whose queries are rows.
            scores: for every row of the task, documents to their scores.
            depth: how many of each list are ranked anew [documents].
            pooled: whether the lists are those of the pool of all languages, or of each language's own.
        """
        self._ranker, self._scores, self._depth, self._pooled = ranker, scores, depth, pooled
        self.languages = tuple(ranker.languages)

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """The k best documents of each of these languages, all when None; those of the whole pool, if it is pooled.

        Args:
            queries: rows, int [queries].
        """
        chosen = self.languages if languages is None else languages
        width = max(k, self._depth)
        if self._pooled:
            whole = merge(self._ranker.search_languages(queries, width), width, len(queries))
            return by_language(cut(self._reranked(queries, whole), k), chosen)
        found = self._ranker.search_languages(queries, width, chosen)
        return {name: cut(self._reranked(queries, hits), k) for name, hits in found.items()}

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """The places of relevant documents, as the ranker gives them but for those that were ranked anew.

        Args:
            queries: rows, int [queries].
        """
        above = self._ranker.ranks(queries, relevant, languages)
        row_of = {pair: row for row, pair in enumerate(zip(above.queries.tolist(), above.documents, strict=True))}
        counts = above.counts.copy()
        for block in blocks(len(queries), QUERIES):
            lists = in_pool(self.search_languages(queries[block], self._depth, languages), self._pooled)
            head = places(lists, relevant[block], self.languages, block.start)
            rows = [row_of[pair] for pair in zip(head.queries.tolist(), head.documents, strict=True)]
            counts[rows] = head.counts
        return above._replace(counts=counts)

    def _reranked(self, queries: np.ndarray, hits: Hits) -> Hits:
        head, width = hits.ids[:, : self._depth], hits.ids.shape[1]
        order = np.tile(np.arange(width), (len(head), 1))
        scores = hits.scores.copy()
        for row, (query, keys) in enumerate(zip(queries.tolist(), head.tolist(), strict=True)):
            there, known = [key for key in keys if key], self._scores[query]
            if not there or not all(key in known for key in there):
                continue
            best = sorted(((known[key], key, place) for place, key in enumerate(there)), reverse=True)
            order[row, : len(best)] = [place for _, _, place in best]
            scores[row, : len(best)] = [score for score, _, _ in best]
            scores[row, len(best) :] = best[-1][0] - np.arange(1, 1 + width - len(best), dtype=np.float32)
        ids = np.take_along_axis(hits.ids, order, axis=1)
        return Hits(ids, np.where(ids == "", np.float32(-np.inf), scores))


def scored(
    config: EvaluateConfig, task: Task, rankers: Sequence[tuple[Ranker, Sequence[Setting]]]
) -> list[dict[str, float]]:
    """The scores of the first documents of all lists that count, for every query of the task.

    Args:
        rankers: rankers whose queries are rows, each with the settings in which it ranks.

    Raises:
        UserError: the cross-encoder is unusable, or a document has no text in the task.
    """
    assert config.rerank is not None
    wanted: list[set[str]] = [set() for _ in range(len(task.queries))]
    for ranker, settings in rankers:
        for rows, ids in _heads(task, ranker, settings, config.rerank_depth):
            for row, keys in zip(rows.tolist(), ids.tolist(), strict=True):
                wanted[row].update(key for key in keys if key)
    known = _texts(task, set().union(*wanted))
    place = {key: number for number, key in enumerate(known)}
    listed = [sorted(keys) for keys in wanted]
    found = cross_encoder.scores(
        config.rerank,
        pa.array(task.queries["text"].to_pylist(), pa.large_string()),
        pa.array(known.values(), pa.large_string()),
        [np.array([place[key] for key in keys], dtype=np.int64) for keys in listed],
        config.encoding,
    )
    return [dict(zip(keys, values.tolist(), strict=True)) for keys, values in zip(listed, found, strict=True)]


def _heads(
    task: Task, ranker: Ranker, settings: Sequence[Setting], depth: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of queries, and the ids of the first documents of their lists, [rows, depth] or fewer.

    Lists of other languages count where the query has a judged document, once there are judgements.
    """
    if "multilingual" in settings:
        for block in blocks(len(task.queries), QUERIES):
            rows = np.arange(block.start, block.stop)
            yield rows, merge(ranker.search_languages(rows, depth), depth, len(rows)).ids
        return
    asked = np.array(task.queries["lang"].to_pylist(), dtype=object)
    judged = [
        {key.partition(":")[0] for key in task.judgements.get(query, ())} for query in task.queries["id"].to_pylist()
    ]
    for language in ranker.languages:
        own = asked == language
        counted = np.array([language in some for some in judged]) if task.judged else np.full(len(asked), True)
        members = np.flatnonzero(("monolingual" in settings) & own | ("cross-lingual" in settings) & ~own & counted)
        for block in blocks(len(members), QUERIES):
            yield members[block], ranker.search_languages(members[block], depth, [language])[language].ids


def _texts(task: Task, wanted: set[str]) -> dict[str, str]:
    """The texts of these documents, by id."""
    if isinstance(task.documents, CorpusAt):
        return texts.of_corpus(task.documents.uri, task.documents.language, wanted, task.documents.duplicates)
    pairs = zip(task.documents["id"].to_pylist(), task.documents["text"].to_pylist(), strict=True)
    known = {key: text for key, text in pairs if key in wanted}
    if absent := wanted - known.keys():
        raise UserError(f"--rerank: {task.name} has no document {min(absent)}, which is in a list")
    return known
