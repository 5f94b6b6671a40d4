"""Search over the shards of an index: scatter to shard actors, merge, and the ranks of known documents.

A score is `exact.scores`, or FAISS's own when the index is approximate; a ranking is by score and then id, both
descending (as trec_eval orders). Exact ones are the same however the documents are sharded, so every pool of languages
is a choice of shards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hbt_ray import storage
from hbt_ray.cluster import largest_node
from hbt_ray.config import Recall, UserError
from hbt_ray.search import store
from hbt_ray.search.found import combine
from hbt_ray.search.ranking import Above, Hits, Wanted, asked_for, checked_queries, hits, in_order, merge, pool
from hbt_ray.search.recall import USUAL, shortfall
from hbt_ray.search.shard import ShardActor

log = logging.getLogger(__name__)
ACTOR_ROWS = 50_000  # documents worth starting a process for


class Searcher:
    """An index, held by Ray actors while the `with` block runs.

    Attributes:
        languages: languages of the shards, in the order in which equal scores rank (descending ids).
        rows: language to number of documents.
    """

    def __init__(
        self, index: str, actors: int | None = None, recall: Recall = USUAL, gpus_per_actor: float = 0
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
        self.manifest = store.manifest_of(uri)
        shards = {shard["name"]: shard for shard in self.manifest["shards"]}
        refuse_too_large(sum(shard["bytes"] for shard in shards.values()))
        self._names: dict[str, list[str]] = {}
        for name, shard in shards.items():
            self._names.setdefault(shard["language"], []).append(name)
        self.languages = in_order(self._names)
        self.rows = {
            language: sum(int(shards[name]["rows"]) for name in self._names[language]) for language in self.languages
        }
        points = self.manifest["operating_points"]
        self._efforts = {language: of[recall]["value"] for language, of in points.items()}
        if short := shortfall(points, recall):
            log.warning(short)
        elif not self.manifest["exact"] and not points:
            log.warning("%s has not been measured (index --queries): --recall has no effect", index)
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
        threads = max(1, min(cpus // len(groups), int(largest_node("CPU"))))
        # Half a CPU is reserved for each thread, so that the smallest cluster has room for other work meanwhile; all at
        # once, since of two searchers that hold some of what they need, neither would ever get the rest.
        needs = {"CPU": threads / 2, **({"GPU": gpus_per_actor} if gpus_per_actor else {})}
        self._places = placement_group([needs] * len(groups), strategy="SPREAD")
        actor = ray.remote(ShardActor).options(
            num_cpus=threads / 2, num_gpus=gpus_per_actor, max_restarts=3, max_task_retries=3,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._places),
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}},
        )  # fmt: skip
        self._queries: Callable[[Sequence[str]], np.ndarray] | None = None
        self._actors = []
        self._actor_of: dict[str, Any] = {}
        for group in groups:
            handle = actor.remote(
                uri, {name: shards[name] for name in group}, self.manifest["width"], threads, gpus_per_actor > 0
            )
            self._actors.append(handle)
            self._actor_of.update(dict.fromkeys(group, handle))
        try:
            ray.get([handle.load.remote() for handle in self._actors])
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        kind = "exact" if self.manifest["exact"] else self.manifest["factory"]
        return f"Searcher({kind}, {sum(self.rows.values()):,} documents in {len(self.rows)} languages)"

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
        remove_placement_group(self._places)

    def search(self, queries: np.ndarray | Sequence[str], k: int = 10, languages: Sequence[str] | None = None) -> Hits:
        """The best documents of each query in the pool of `languages` (all when None).

        Args:
            queries: texts, which the index's own model encodes here, or vectors, fp32 [queries, width].
            k: length of the lists; shorter where the pool is smaller. Lists of an approximate index that found fewer
                end with the id "" and the score minus infinity.

        Raises:
            UserError: k is 0, a language has no shard, or the queries' width or a number in them is wrong.
        """
        vectors = queries if isinstance(queries, np.ndarray) else self._encode(queries)
        return merge(self.search_languages(vectors, k, languages), k, len(vectors))

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        if self._queries is None:
            from hbt_ray.search.queries import QueryEncoder  # here, since most searches do without torch

            self._queries = QueryEncoder(self.manifest)
        return self._queries(texts)

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """`search` in each language's own pool: the lists from which `merge` makes those of any pool.

        Args:
            queries: fp32 [queries, width].

        Raises:
            UserError: k is 0, a language has no shard, or the queries' width or a number in them is wrong.
        """
        chosen = pool(self.rows, languages)
        reference = ray.put(checked_queries(queries, self.manifest["width"], k))
        answers = {
            language: [
                self._actor_of[name].search.remote(name, reference, k, self._efforts.get(language))
                for name in self._names[language]
            ]
            for language in chosen
        }
        return {language: hits(combine(ray.get(answers[language]), k)) for language in chosen}

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """Count, for each relevant document of each query, the documents of every language that rank above it.

        Args:
            queries: fp32 [queries, width].
            relevant: document ids (`lang:docid`) of each query, in `languages`.
            languages: languages whose documents are counted, those of others not; all when None.

        Raises:
            UserError: a relevant document is not in the index, or not in one of the languages, or the index is
                approximate.
        """
        if not self.manifest["exact"]:
            raise UserError(f"an index of kind {self.manifest['factory']} does not tell exact ranks")
        queries = checked_queries(queries, self.manifest["width"])
        wanted = asked_for(relevant, self.languages)
        chosen = pool(self.rows, languages)
        positions, scores = self._locate(queries, wanted, chosen)
        shared = [ray.put(value) for value in (queries, wanted.offsets, scores)]
        counts = {
            language: [
                self._actor_of[name].above.remote(name, *shared, positions[name]) for name in self._names[language]
            ]
            for language in chosen
        }
        above = np.zeros((len(scores), len(self.languages)), dtype=np.int64)
        for language in chosen:
            above[:, self.languages.index(language)] = np.sum(ray.get(counts[language]), axis=0)
        return Above(wanted.queries, wanted.documents, wanted.languages, above)

    def _locate(
        self, queries: np.ndarray, wanted: Wanted, languages: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """For every shard, the first position whose id is not higher than each document's; and the documents' scores.

        In a tie, all ids of an earlier language are higher and none of a later one is.
        """
        own, documents = wanted.languages, wanted.documents
        columns = {language: self.languages.index(language) for language in languages}
        members = {language: np.flatnonzero(own == i) for language, i in columns.items()}
        found = {
            name: self._actor_of[name].locate.remote(name, queries[wanted.queries[rows]], documents[rows].tolist())
            for language, rows in members.items()
            for name in self._names[language]
        }
        sizes = {shard["name"]: int(shard["rows"]) for shard in self.manifest["shards"]}
        scores = np.full(len(documents), np.nan, dtype=np.float32)
        positions = {}
        for language, rows in members.items():
            for name in self._names[language]:
                positions[name] = np.where(own > columns[language], sizes[name], 0)
                positions[name][rows], here = ray.get(found[name])
                scores[rows] = np.where(np.isnan(here), scores[rows], here)
        wanted.refuse_absent(scores)
        return positions, scores


def refuse_too_large(needed: int) -> None:
    """Check that an index fits into memory.

    Raises:
        UserError: an index of `needed` bytes is larger than the memory that Ray has to give.
    """
    there = ray.cluster_resources().get("memory", 0)
    if needed > there:
        raise UserError(
            f"the index takes {needed / 2**30:.1f} GiB of memory and the cluster has {there / 2**30:.1f} GiB"
        )


def _share(rows: Mapping[str, int], groups: int) -> list[list[str]]:
    """Shards in `groups` groups of about equal rows: each, largest first, to the smallest group."""
    shares: list[list[str]] = [[] for _ in range(groups)]
    for language in sorted(rows, key=lambda name: (-rows[name], name)):
        min(shares, key=lambda share: sum(rows[name] for name in share)).append(language)
    return shares
