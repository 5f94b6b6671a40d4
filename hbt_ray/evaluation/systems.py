"""What is evaluated, ready to rank: a model and its index, BM25 or a run; several of them fused; and reranked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import ray

from hbt_ray import storage
from hbt_ray.config import BM25, EvaluateConfig, IndexConfig, Setting, UserError
from hbt_ray.encode import embeddings
from hbt_ray.encode.encode import Identity
from hbt_ray.evaluation import bm25, ids
from hbt_ray.evaluation.by_row import ByRow
from hbt_ray.evaluation.encoded import encode_task
from hbt_ray.evaluation.fusion import FusedRanker, Fusion
from hbt_ray.evaluation.ranker import Ranker
from hbt_ray.evaluation.reranking import RerankedRanker, scored
from hbt_ray.evaluation.run_file import RunRanker
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.search.build import build_index
from hbt_ray.search.fusion import reciprocal_ranks, weighted_scores
from hbt_ray.search.searcher import Searcher
from hbt_ray.search.streaming import StreamingSearcher

PAIRS = 50_000_000  # of a query and a document, worth starting a process for


class EvaluatedSystem(NamedTuple):
    """What is evaluated, ready to rank.

    Attributes:
        rankers: rankers, each with the settings in which it ranks: none of them both in pools of one language and in
            that of all, if their lists are not the same there.
        queries: queries of the task, as the rankers want them, [queries] or [queries, width].
        encoded: how many texts have been encoded for it now, and were not there already.
        documents: number of documents that it ranks; None when they are not known.
        identical: queries whose own documents the rankers may have, and are to be left out.
        own: queries of which this is known, since they are documents in their own lists; None: it is known of none.
        unanswered: queries for which it has no list.
        duplicates: number of documents that were left out, since their ids come again.
        above: score of documents that share nothing with the query, which count as not in a list that is fused.
    """

    rankers: Sequence[tuple[Ranker, Sequence[Setting]]]
    queries: np.ndarray
    encoded: dict[str, int]
    documents: int | None
    identical: frozenset[str]
    own: frozenset[str] | None = None
    unanswered: frozenset[str] = frozenset()
    duplicates: int = 0
    above: float = -np.inf

    def by_row(self, task: Task, setting: Setting) -> ByRow:
        """What ranks in a setting, asked by the rows of the task's queries."""
        ranker = next(ranker for ranker, settings in self.rankers if setting in settings)
        return ByRow(ranker, self.queries, task.queries["id"].to_pylist(), self.identical, self.above)


@contextmanager
def prepared(
    config: EvaluateConfig, identity: Identity | None, task: Task, known: ids.Known, depth: int
) -> Iterator[EvaluatedSystem]:
    """What the settings name, while the block runs; of what is fused, first what costs least.

    Args:
        identity: the model, if one encodes.
        depth: length of the lists [documents].

    Raises:
        UserError: a model or run is unusable, or a run has no query of the task.
    """
    others = [
        _words(config, task, known) if name == BM25 else _run(config, task, known, "--fuse", name)
        for name in config.fuse
    ]
    with _first(config, identity, task, known) as first:
        system = fused(config, task, [first, *others], depth) if others else first
        yield system if config.rerank is None else reranked(config, task, system)


def fused(config: EvaluateConfig, task: Task, systems: Sequence[EvaluatedSystem], depth: int) -> EvaluatedSystem:
    """The fusion of several systems, the first of which is the model's or `--run`'s.

    Args:
        depth: how much of each list is fused, and length of the fused lists [documents].
    """
    fusion: Fusion = (
        partial(reciprocal_ranks, k=config.rrf_k)
        if config.fusion == "rrf"
        else partial(weighted_scores, weights=config.fusion_weights)
    )
    rankers = _by_pool(
        config.settings or task.settings,
        lambda setting, pooled: FusedRanker(
            [system.by_row(task, setting) for system in systems], fusion, depth, pooled
        ),
    )
    own = [system.own for system in systems if system.own is not None]
    return systems[0]._replace(
        rankers=rankers,
        queries=np.arange(len(task.queries)),
        documents=next((system.documents for system in systems if system.documents is not None), None),
        identical=frozenset(),
        own=frozenset().union(*own) if len(own) == len(systems) else None,
        unanswered=frozenset.intersection(*(system.unanswered for system in systems)),
        duplicates=max(system.duplicates for system in systems),
        above=-np.inf,
    )


def reranked(config: EvaluateConfig, task: Task, system: EvaluatedSystem) -> EvaluatedSystem:
    """A system whose lists begin in the order of a cross-encoder.

    Raises:
        UserError: as `scored`.
    """
    whole = system._replace(above=-np.inf)  # what shares nothing with the query is ranked anew like the rest
    bases = _by_pool(config.settings or task.settings, lambda setting, _: whole.by_row(task, setting))
    scores = scored(config, task, bases)
    rankers = [
        (RerankedRanker(base, scores, config.rerank_depth, "multilingual" in settings), settings)
        for base, settings in bases
    ]
    return system._replace(rankers=rankers, queries=np.arange(len(task.queries)), identical=frozenset())


def _by_pool(
    settings: Sequence[Setting], made: Callable[[Setting, bool], Ranker]
) -> list[tuple[Ranker, tuple[Setting, ...]]]:
    """A ranker for the settings that search one language, and one for the pool of all, as far as they are wanted.

    Args:
        made: makes that of a setting, and is told whether it is of the pool of all languages.
    """
    single = tuple(setting for setting in settings if setting != "multilingual")
    whole = tuple(setting for setting in settings if setting == "multilingual")
    return [(made(some[0], pooled), some) for pooled, some in ((False, single), (True, whole)) if some]


@contextmanager
def _first(
    config: EvaluateConfig, identity: Identity | None, task: Task, known: ids.Known
) -> Iterator[EvaluatedSystem]:
    """The system that `--run` or `--model` names."""
    if config.run is not None:
        yield _run(config, task, known, "--run", config.run)
    elif identity is None:
        yield _words(config, task, known)
    else:
        with _model(config, identity, task, known) as system:
            yield system


@contextmanager
def _model(config: EvaluateConfig, identity: Identity, task: Task, known: ids.Known) -> Iterator[EvaluatedSystem]:
    """The model's own index of the documents."""
    made = encode_task(config, identity, task, config.out)
    documents = made.documents
    vectors = embeddings.read_aligned(made.queries["collection"], ids.encoded_ids(task.queries))

    def system(ranker: Ranker) -> EvaluatedSystem:
        return EvaluatedSystem(
            [(ranker, config.settings or task.settings)],
            vectors,
            made.encoded,
            int(documents["rows"]),
            known.identical,
            duplicates=int(documents["left_out"]),
        )

    if config.streaming:
        yield system(StreamingSearcher(documents["collection"]))
        return
    index = storage.join(config.out, "index")
    build_index(IndexConfig(embeddings=documents["collection"], out=index))
    actors = _processes(len(vectors) * documents["rows"])
    with Searcher(index, actors, gpus_per_actor=config.encoding.gpus_per_actor) as searcher:
        yield system(searcher)


def _words(config: EvaluateConfig, task: Task, known: ids.Known) -> EvaluatedSystem:
    """BM25, for which nothing is encoded; each pool is ranked as one BM25 index of that pool ranks it."""
    collection = bm25.collect(task.documents)
    return EvaluatedSystem(
        _by_pool(config.settings or task.settings, lambda _, pooled: bm25.Bm25(collection, pooled)),
        np.array(task.queries["text"].to_pylist(), dtype=object),
        {"queries": 0, "documents": 0},
        len(collection.ids),
        known.identical,
        duplicates=collection.duplicates,
        above=0.0,  # a word in common adds more than nothing
    )


def _run(config: EvaluateConfig, task: Task, known: ids.Known, flag: str, uri: str) -> EvaluatedSystem:
    """The lists of a run file, for which nothing is encoded."""
    keys = task.queries["id"].to_pylist()
    ranker = RunRanker(uri, frozenset(keys))
    if not ranker.queries.intersection(keys):
        raise UserError(f"{flag} {uri}: none of its queries is one of {task.name}, such as {keys[0]}")
    return EvaluatedSystem(
        [(ranker, config.settings or task.settings)],
        np.array(keys, dtype=object),
        {},
        len(task.documents) if isinstance(task.documents, pa.Table) else None,
        known.identical,
        own=ranker.own,
        unanswered=frozenset(keys) - ranker.queries,
    )


def _processes(pairs: int) -> int:
    """How many processes search, for `pairs` of a query and a document: it is more work than an interactive search."""
    return max(1, min(int(ray.cluster_resources().get("CPU", 1)), pairs // PAIRS))
