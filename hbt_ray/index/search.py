"""Search over the shards of an index: scatter to shard actors, merge, and the ranks of known documents.

A score is `exact.scores`, or FAISS's own when the index is approximate; a ranking is by score and then id, both
descending (as trec_eval orders). Exact ones are the same however the documents are sharded, so every pool of languages
is a choice of shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import ray

from hbt_ray import storage
from hbt_ray.config import Recall, UserError
from hbt_ray.index.found import Found, combine
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
        """Raises:
        UserError: a document has the score NaN, so no place knows it.
        """
        if np.isnan(scores).any():
            raise UserError(f"the index has no document {self.documents[np.isnan(scores)][0]}")


class Searcher:
    """An index, held by Ray actors while the `with` block runs.

    Attributes:
        languages: of the shards, in the order in which equal scores rank (descending ids).
        rows: language to documents.
    """

    def __init__(
        self, index: str, actors: int | None = None, recall: Recall = "0.95", gpus_per_actor: float = 0
    ) -> None:
        """Start the actors and load the shards.

        Args:
            actors: processes that share the shards; when None, one a CPU of the cluster, but not more than shards
                and none for fewer than ACTOR_ROWS documents. On GPUs as many as have GPUs.
            recall: what an approximate index has to reach in each language, if that was measured.
            gpus_per_actor: an actor spreads its exact shards over so many, in fp16; the results are the same.

        Raises:
            UserError: the index is unfinished or larger than the cluster's memory or GPUs, a shard is missing or
                corrupt, or the cluster has too few GPUs for one actor.
        """
        uri = storage.absolute(index)
        self.manifest = storage.read_manifest(uri, "index")
        shards = {shard["name"]: shard for shard in self.manifest["shards"]}
        refuse_too_large(sum(shard["bytes"] for shard in shards.values()))
        self._names: dict[str, list[str]] = {}
        for name, shard in shards.items():
            self._names.setdefault(shard["language"], []).append(name)
        self.languages = in_order(self._names)
        self.rows = {
            language: sum(int(shards[name]["rows"]) for name in self._names[language]) for language in self.languages
        }
        self._efforts = {
            language: points[recall]["value"] for language, points in self.manifest["operating_points"].items()
        }
        cpus = int(ray.cluster_resources().get("CPU", 1))
        needed = -(-sum(self.rows.values()) // ACTOR_ROWS)
        sizes = {name: int(shard["rows"]) for name, shard in shards.items()}
        most = actors or min(cpus, needed)
        if gpus_per_actor:
            gpus = ray.cluster_resources().get("GPU", 0)
            most = min(most, int(gpus // gpus_per_actor))
            if not most:
                raise UserError(f"--gpus-per-actor {gpus_per_actor:g}: the cluster has {gpus:g} GPUs")
        groups = _share(sizes, min(most, len(shards)))
        threads = max(1, cpus // len(groups))
        # Half a CPU is reserved for each thread, so that the smallest cluster has room for other work meanwhile.
        actor = ray.remote(ShardActor).options(
            num_cpus=threads / 2, num_gpus=gpus_per_actor, max_restarts=3, max_task_retries=3,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}},
        )  # fmt: skip
        self._actors = []
        self._actor_of: dict[str, Any] = {}
        for group in groups:
            handle = actor.remote(uri, {name: shards[name] for name in group}, threads, gpus_per_actor > 0)
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
            k: length of the lists; shorter where the pool is smaller. Lists of an approximate index that found fewer
                end with the id "" and the score minus infinity.

        Raises:
            UserError: k is 0, a language has no shard, or the queries' width or a number in them is wrong.
        """
        return merge(self.search_languages(queries, k, languages), k, len(queries))

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """`search` in each language's own pool: the lists from which `merge` makes those of any pool."""
        chosen = pool(self.rows, languages)
        reference = ray.put(checked(queries, self.manifest["width"], k))
        answers = {
            language: [
                self._actor_of[name].search.remote(name, reference, k, self._efforts.get(language))
                for name in self._names[language]
            ]
            for language in chosen
        }
        return {language: hits(combine(ray.get(answers[language]), k)) for language in chosen}

    def ranks(self, queries: np.ndarray, relevant: Sequence[Sequence[str]]) -> Above:
        """Count, for each relevant document of each query, the documents of every language that rank above it.

        Args:
            queries: fp32 [queries, width].
            relevant: document ids (`lang:docid`) of each query.

        Raises:
            UserError: a relevant document is not in the index, or the index is approximate.
        """
        if not self.manifest["exact"]:
            raise UserError(f"an index of kind {self.manifest['factory']} does not tell exact ranks")
        queries = checked(queries, self.manifest["width"])
        wanted = asked_for(relevant, self.languages)
        positions, scores = self._locate(queries, wanted)
        shared = [ray.put(value) for value in (queries, wanted.offsets, scores)]
        counts = {
            language: [
                self._actor_of[name].above.remote(name, *shared, positions[name]) for name in self._names[language]
            ]
            for language in self.languages
        }
        above = [np.sum(ray.get(counts[language]), axis=0) for language in self.languages]
        return Above(wanted.queries, wanted.documents, wanted.languages, np.stack(above, axis=1))

    def _locate(self, queries: np.ndarray, wanted: Wanted) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """For every shard, the first position whose id is not higher than each document's; and the documents' scores.

        In a tie, all ids of an earlier language are higher and none of a later one is.
        """
        own, documents = wanted.languages, wanted.documents
        members = [np.flatnonzero(own == i) for i in range(len(self.languages))]
        found = {
            name: self._actor_of[name].locate.remote(name, queries[wanted.queries[rows]], documents[rows].tolist())
            for language, rows in zip(self.languages, members, strict=True)
            for name in self._names[language]
        }
        sizes = {shard["name"]: int(shard["rows"]) for shard in self.manifest["shards"]}
        scores = np.full(len(documents), np.nan, dtype=np.float32)
        positions = {}
        for i, (language, rows) in enumerate(zip(self.languages, members, strict=True)):
            for name in self._names[language]:
                positions[name] = np.where(own > i, sizes[name], 0)
                positions[name][rows], here = ray.get(found[name])
                scores[rows] = np.where(np.isnan(here), scores[rows], here)
        wanted.refuse_absent(scores)
        return positions, scores


def asked_for(relevant: Sequence[Sequence[str]], languages: Sequence[str]) -> Wanted:
    """The rows of all relevant documents of each query.

    Args:
        languages: of the documents there are.

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
    """As their documents' ids are ordered, descending."""
    return tuple(sorted(languages, key=_order, reverse=True))


def merge(lists: Mapping[str, Hits], k: int, queries: int) -> Hits:
    """The k best of several languages' lists, exactly as one index of all of them would rank.

    Args:
        lists: language to its lists, each of at least min(k, documents of the language).
        queries: their number, which no lists do not tell.
    """
    if not lists:
        return Hits(np.empty((queries, 0), dtype=object), np.empty((queries, 0), dtype=np.float32))
    parts = [lists[language] for language in in_order(lists)]
    ids, scores = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # stable: ties stay in descending order of ids
    return Hits(np.take_along_axis(ids, best, axis=1), np.take_along_axis(scores, best, axis=1))


def hits(found: Found) -> Hits:
    return Hits(found.ids.to_numpy(zero_copy_only=False)[found.places], found.scores)


def pool(rows: Mapping[str, int], languages: Sequence[str] | None) -> list[str]:
    """The languages to search in, each once; all of `rows` when None.

    Raises:
        UserError: there is no document in one of them.
    """
    chosen = [name for name in rows if rows[name]] if languages is None else list(dict.fromkeys(languages))
    for language in chosen:
        if not rows.get(language):
            raise UserError(f"the index has no language {language}; it has {', '.join(sorted(rows))}")
    return chosen


def checked(queries: np.ndarray, width: int, k: int = 1) -> np.ndarray:
    """The queries as fp32 [queries, width].

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


def refuse_too_large(needed: int) -> None:
    """Raises:
    UserError: an index of `needed` bytes is larger than the memory that Ray has to give.
    """
    there = ray.cluster_resources().get("memory", 0)
    if needed > there:
        raise UserError(
            f"the index takes {needed / 2**30:.1f} GiB of memory and the cluster has {there / 2**30:.1f} GiB"
        )


def _order(language: str) -> str:
    """Ids begin with this, so languages in this order have their ids in order."""
    return f"{language}:"


def _share(rows: Mapping[str, int], groups: int) -> list[list[str]]:
    """Shards in `groups` groups of about equal rows: each, largest first, to the smallest group."""
    shares: list[list[str]] = [[] for _ in range(groups)]
    for language in sorted(rows, key=lambda name: (-rows[name], name)):
        min(shares, key=lambda share: sum(rows[name] for name in share)).append(language)
    return shares
