"""Exact search over the language shards of an index: scatter to shard actors, merge, and the ranks of known documents.

A score is `exact.scores`, a ranking is by score and then id, both descending (as trec_eval orders). Both are the same
however the documents are sharded, so every pool of languages is a choice of shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import ray

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.index.shard import ShardActor

ACTOR_ROWS = 50_000  # documents worth starting a process for


class Hits(NamedTuple):
    """Ranked lists of equal length, best first.

    Attributes:
        ids: documents, str [queries, k].
        scores: fp32 [queries, k].
    """

    ids: np.ndarray
    scores: np.ndarray


class Above(NamedTuple):
    """Where relevant documents stand, one row for each (query, relevant document), in order of the queries.

    The document's rank in a pool of languages is 1 + the sum of those languages' counts.

    Attributes:
        queries: row of the query, int64 [pairs].
        documents: id, str [pairs].
        languages: column of the document's own language in `counts`, int64 [pairs].
        counts: documents of each language of the searcher that rank above this one, int64 [pairs, languages].
    """

    queries: np.ndarray
    documents: np.ndarray
    languages: np.ndarray
    counts: np.ndarray


class Searcher:
    """An index, held by Ray actors while the `with` block runs.

    Attributes:
        languages: of the shards, in the order in which equal scores rank (descending ids).
        rows: language to documents.
    """

    def __init__(self, index: str, actors: int | None = None) -> None:
        """Start the actors and load the shards.

        Args:
            actors: processes that share the shards; when None, one a CPU of the cluster, but not more than shards
                and none for fewer than ACTOR_ROWS documents.

        Raises:
            UserError: the index is unfinished, or a shard is missing or corrupt.
        """
        uri = storage.absolute(index)
        self.manifest = storage.read_manifest(uri, "index")
        shards = {shard["language"]: shard for shard in self.manifest["shards"]}
        self.languages = tuple(sorted(shards, key=_order, reverse=True))
        self.rows = {language: int(shards[language]["rows"]) for language in self.languages}
        cpus = int(ray.cluster_resources().get("CPU", 1))
        needed = -(-sum(self.rows.values()) // ACTOR_ROWS)
        groups = _share(self.rows, min(actors or min(cpus, needed), len(shards)))
        threads = max(1, cpus // len(groups))
        # Half a CPU is reserved for each thread, so that the smallest cluster has room for other work meanwhile.
        actor = ray.remote(ShardActor).options(
            num_cpus=threads / 2, max_restarts=3, max_task_retries=3, scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}},
        )  # fmt: skip
        self._actors = []
        self._actor_of: dict[str, Any] = {}
        for group in groups:
            handle = actor.remote(uri, {language: shards[language] for language in group}, threads)
            self._actors.append(handle)
            self._actor_of.update(dict.fromkeys(group, handle))
        try:
            ray.get([handle.load.remote() for handle in self._actors])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the actors."""
        for handle in self._actors:
            ray.kill(handle)

    def search(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> Hits:
        """The best documents of each query in the pool of `languages` (all when None).

        Args:
            queries: fp32 [queries, width].
            k: length of the lists; shorter where the pool is smaller.

        Raises:
            UserError: a language has no shard, or the queries' width or a number in them is wrong.
        """
        return merge(self.search_languages(queries, k, languages), k, len(queries))

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """`search` in each language's own pool: the lists from which `merge` makes those of any pool."""
        if k < 1:
            raise ValueError(f"k is {k} and must be positive")
        chosen = list(dict.fromkeys(self.languages if languages is None else languages))
        for language in chosen:
            if language not in self.rows:
                raise UserError(f"the index has no language {language}; it has {', '.join(sorted(self.rows))}")
        reference = ray.put(self._checked(queries))
        answers = ray.get([self._actor_of[language].search.remote(language, reference, k) for language in chosen])
        return {
            language: Hits(ids.to_numpy(zero_copy_only=False)[places], scores)
            for language, (ids, places, scores) in zip(chosen, answers, strict=True)
        }

    def ranks(self, queries: np.ndarray, relevant: Sequence[Sequence[str]]) -> Above:
        """Count, for each relevant document of each query, the documents of every language that rank above it.

        Args:
            queries: fp32 [queries, width].
            relevant: document ids (`lang:docid`) of each query.

        Raises:
            UserError: a relevant document is not in the index.
        """
        queries = self._checked(queries)
        sizes = np.array([len(ids) for ids in relevant], dtype=np.int64)
        owners = np.repeat(np.arange(len(queries)), sizes)
        documents = np.array([key for ids in relevant for key in ids], dtype=object)
        column = {language: i for i, language in enumerate(self.languages)}
        own = np.array([column.get(key.partition(":")[0], -1) for key in documents], dtype=np.int64)
        if (own < 0).any():
            raise UserError(f"the index has no document {documents[own < 0][0]}")
        members = [np.flatnonzero(own == i) for i in range(len(self.languages))]
        found = ray.get([
            self._actor_of[language].locate.remote(language, queries[owners[rows]], documents[rows].tolist())
            for language, rows in zip(self.languages, members, strict=True)
        ])  # fmt: skip
        positions, scores = np.empty(len(documents), dtype=np.int64), np.empty(len(documents), dtype=np.float32)
        for rows, (position, score) in zip(members, found, strict=True):
            positions[rows], scores[rows] = position, score
        shared = [ray.put(value) for value in (queries, np.concatenate([[0], np.cumsum(sizes)]), scores)]
        counts = ray.get([
            # In a tie, all ids of an earlier language are higher and none of a later one is.
            self._actor_of[language].above.remote(
                language, *shared, np.where(own == i, positions, np.where(own > i, self.rows[language], 0))
            )
            for i, language in enumerate(self.languages)
        ])  # fmt: skip
        return Above(owners, documents, own, np.stack(counts, axis=1))

    def _checked(self, queries: np.ndarray) -> np.ndarray:
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.manifest["width"]:
            raise UserError(f"queries are {list(queries.shape)} and the index is {self.manifest['width']} wide")
        if not np.isfinite(queries).all():
            raise UserError("a query vector is not finite")
        return queries


def merge(lists: Mapping[str, Hits], k: int, queries: int) -> Hits:
    """The k best of several languages' lists, exactly as one index of all of them would rank.

    Args:
        lists: language to its lists, each of at least min(k, documents of the language).
        queries: their number, which no lists do not tell.
    """
    if not lists:
        return Hits(np.empty((queries, 0), dtype=object), np.empty((queries, 0), dtype=np.float32))
    parts = [lists[language] for language in sorted(lists, key=_order, reverse=True)]
    ids, scores = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # stable: ties stay in descending order of ids
    return Hits(np.take_along_axis(ids, best, axis=1), np.take_along_axis(scores, best, axis=1))


def _order(language: str) -> str:
    """Ids begin with this, so languages in this order have their ids in order."""
    return f"{language}:"


def _share(rows: Mapping[str, int], groups: int) -> list[list[str]]:
    """Languages in `groups` groups of about equal rows: each, largest first, to the smallest group."""
    shares: list[list[str]] = [[] for _ in range(groups)]
    for language in sorted(rows, key=lambda name: (-rows[name], name)):
        min(shares, key=lambda share: sum(rows[name] for name in share)).append(language)
    return shares
