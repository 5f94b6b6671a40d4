"""A model on a task in its settings: encode, index, rank and measure; each text is encoded once."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any, NamedTuple

import faiss
import numpy as np
import pyarrow as pa
import ray

from hbt_ray import storage
from hbt_ray.config import EvaluateConfig, EvaluatedEncoder, IndexConfig, Setting, UserError
from hbt_ray.encode import embeddings
from hbt_ray.encode.encode import Identity, identify
from hbt_ray.evaluation import answers, bias, bm25, first_document, formats, ids, rankings, tasks
from hbt_ray.evaluation.encoded import encode_task
from hbt_ray.evaluation.metrics import columns, cutoff
from hbt_ray.evaluation.ranker import Ranker
from hbt_ray.evaluation.rankings import Rankings
from hbt_ray.evaluation.run_file import RunRanker
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.model.build import local_models
from hbt_ray.search.build import build_index
from hbt_ray.search.searcher import Searcher
from hbt_ray.search.streaming import StreamingSearcher

LOG = logging.getLogger(__name__)
# what it makes in its folder
OWNS = ("queries", "queries.parquet", "documents", "documents.parquet", "index", "run.trec", "run.monolingual.trec",
        "qrels.trec", "per_query.parquet", "mteb", "results.json", "manifest.json")  # fmt: skip
MTEB = "mteb:"  # begins the names of its tasks
PAIRS = 50_000_000  # of a query and a document, worth starting a process for
PACKAGES = ("ray", "torch", "transformers", "sentence-transformers", "pytrec_eval-terrier", "bm25s", "numpy")


class EvaluatedSystem(NamedTuple):
    """What is evaluated, ready to rank.

    Attributes:
        rankers: rankers, each with the settings in which it ranks.
        queries: queries of the task, as the rankers want them, [queries] or [queries, width].
        encoded: how many texts have been encoded for it now, and were not there already.
        documents: number of documents that it ranks; None when they are not known.
        unanswered: number of queries for which it has no list.
        duplicates: number of documents that were left out, since their ids come again.
    """

    rankers: Sequence[tuple[Ranker, Sequence[Setting]]]
    queries: np.ndarray
    encoded: dict[str, int]
    documents: int | None
    unanswered: int = 0
    duplicates: int = 0


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a model; a finished evaluation with the same settings is returned as it is, an unfinished one goes on.

    Monolingual results are means over languages, cross-lingual ones over ordered pairs of languages (only questions
    that have a judged document in the pair's corpus count), multilingual ones over query languages. Queries without
    results count 0, those without judgements do not count, as in `trec_eval -c`; `counts` says how many there are.

    A task `mteb:NAME` is MTEB's own, and `evaluate_mteb` says what it gives.

    Returns: what results.json holds.

    Raises:
        UserError: task, model or run are unusable, judged documents are missing, `out` holds another run, or mteb is
            not installed.
    """
    if config.task.startswith(MTEB):
        return _mteb(config)
    started = time.monotonic()
    out = config.out
    inputs = [uri for uri in (config.data, config.corpus, config.run) if uri is not None]
    for place in (out, config.cache, config.collection):
        if place is not None:
            storage.refuse_overlap(place, [*inputs, *local_models(config.encoder)])
    task = tasks.load_task(
        config.task, config.data, config.text, config.corpus, config.language,
        config.missing_queries == "skip", config.duplicates,
    )  # fmt: skip
    if config.identical_ids is not None:
        task = replace(task, ignore_identical_ids=config.identical_ids == "ignore")
    identity, fingerprint = _identify(config)
    known = ids.Known() if storage.committed(out) else ids.known(task, config)  # before anything is claimed
    with storage.claimed(out, "evaluate", _claim(config, task, fingerprint), OWNS):
        if not storage.committed(out):
            return _evaluate(config, identity, task, known, started)
    results: dict[str, Any] = storage.read_json(storage.join(out, "results.json"))
    return results


def _evaluate(
    config: EvaluateConfig, identity: Identity | None, task: Task, known: ids.Known, started: float
) -> dict[str, Any]:
    depth = max(config.depth, *(cutoff(name) for name in columns(task.headline)))
    if identity is not None:
        prepared = _model(config, identity, task, config.out)
    else:
        prepared = _run(config, task) if config.run is not None else _words(config, task)
    with prepared as system:
        searching = time.monotonic()
        if not task.judged:
            task = answers.judge(task, system.queries, system.rankers[0][0], depth)
        ranked = first_document.with_answers(task, rankings.joined([
            rankings.rank(task, system.queries, ranker, depth, chosen, *known)
            for ranker, chosen in system.rankers
        ]))  # fmt: skip
        LOG.info(
            "ranked and measured %s queries in %.1f s; this process has held %.2f GiB at most",
            f"{len(system.queries):,}",
            time.monotonic() - searching,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        )
        return _write(config, config.out, task, ranked, system, known, started)


def _mteb(config: EvaluateConfig) -> dict[str, Any]:
    try:
        from hbt_ray.evaluation.mteb import evaluate_mteb  # here, since mteb is an extra, and takes seconds to import
    except ModuleNotFoundError as error:
        raise UserError(f"--task {config.task} needs {error.name}: install hbt-ray[mteb]") from None
    return evaluate_mteb(config)


def _identify(config: EvaluateConfig) -> tuple[Identity | None, Mapping[Any, Any] | None]:
    """The model, if one encodes, and what its rankings depend on, if that is not a run file."""
    if config.collection is not None and not _encodes(config):
        raise UserError(f"--collection: with --run or --model {bm25.MODEL} no vectors are used")
    if config.run is not None:
        return None, None
    if _encodes(config):
        identity = identify(config.encoder)
        return identity, identity.fingerprints
    if config.encoder != EvaluatedEncoder(model=bm25.MODEL):
        raise UserError(f"--model {bm25.MODEL} searches by words: no other setting of an encoder applies to it")
    return None, bm25.FINGERPRINT


def _encodes(config: EvaluateConfig) -> bool:
    return config.run is None and config.encoder.model != bm25.MODEL


@contextmanager
def _model(config: EvaluateConfig, identity: Identity, task: Task, out: str) -> Iterator[EvaluatedSystem]:
    """The model's own index of the documents."""
    made = encode_task(config, identity, task, out)
    documents = made.documents
    found = made.encoded, int(documents["rows"]), 0, int(documents["left_out"])
    vectors = embeddings.read_aligned(made.queries["collection"], ids.encoded_ids(task.queries))
    if config.streaming:
        yield EvaluatedSystem([(StreamingSearcher(documents["collection"]), config.settings)], vectors, *found)
        return
    index = storage.join(out, "index")
    build_index(IndexConfig(embeddings=documents["collection"], out=index))
    actors = _processes(len(vectors) * documents["rows"])
    with Searcher(index, actors, gpus_per_actor=config.encoding.gpus_per_actor) as searcher:
        yield EvaluatedSystem([(searcher, config.settings)], vectors, *found)


@contextmanager
def _words(config: EvaluateConfig, task: Task) -> Iterator[EvaluatedSystem]:
    """BM25, for which nothing is encoded; each pool is ranked as one BM25 index of that pool ranks it."""
    collection = bm25.collect(task.documents)
    settings = config.settings or task.settings
    single = tuple(setting for setting in settings if setting != "multilingual")
    whole = tuple(setting for setting in settings if setting == "multilingual")
    chosen = [(bm25.Bm25(collection, pooled), some) for pooled, some in ((False, single), (True, whole)) if some]
    queries = np.array(task.queries["text"].to_pylist(), dtype=object)
    nothing = {"queries": 0, "documents": 0}
    yield EvaluatedSystem(chosen, queries, nothing, len(collection.ids), duplicates=collection.duplicates)


@contextmanager
def _run(config: EvaluateConfig, task: Task) -> Iterator[EvaluatedSystem]:
    """The lists of a run file, for which nothing is encoded."""
    assert config.run is not None
    keys = task.queries["id"].to_pylist()
    ranker = RunRanker(config.run, frozenset(keys))
    if not ranker.queries.intersection(keys):
        raise UserError(f"--run {config.run}: none of its queries is one of {task.name}, such as {keys[0]}")
    documents = len(task.documents) if isinstance(task.documents, pa.Table) else None
    unanswered = len(set(keys) - ranker.queries)
    yield EvaluatedSystem(
        [(ranker, config.settings)], np.array(keys, dtype=object), {}, documents, unanswered=unanswered
    )


def _processes(pairs: int) -> int:
    """How many processes search, for `pairs` of a query and a document: it is more work than an interactive search."""
    return max(1, min(int(ray.cluster_resources().get("CPU", 1)), pairs // PAIRS))


def _write(
    config: EvaluateConfig,
    out: str,
    task: Task,
    ranked: Rankings,
    system: EvaluatedSystem,
    known: ids.Known,
    started: float,
) -> dict[str, Any]:
    """Write every result file and the manifest; returns the results."""
    settings = config.settings or task.settings
    summary = rankings.summarise(ranked.table, settings)
    measures = [*columns(task.headline), *first_document.columns(ranked)]
    results: dict[str, Any] = {
        "task": task.name,
        "model": config.encoder.model,
        "text": config.text,
        "precision": config.encoder.precision if _encodes(config) else None,
        "headline": list(task.headline),
        "settings": rankings.settings_of(summary, measures),
        "protocol": {
            "ignore_identical_ids": task.ignore_identical_ids,
            "missing_queries": config.missing_queries,
            "missing_documents": config.missing_documents,
            "duplicates": config.duplicates,
        },
        "read_from": list(task.places),
        "counts": _counts(task, system, known),
        "left_out": _left_out(task, system, known),
        "encoded": system.encoded,
        "versions": {name: version(name) for name in PACKAGES} | {"faiss": faiss.__version__},
    }
    queries = task.queries["id"].to_pylist()
    if "multilingual" in settings:
        results["settings"]["multilingual"]["language_share"] = _shares(task, ranked, queries)
        formats.write_run(storage.join(out, "run.trec"), queries, ranked.multilingual)
    if "monolingual" in settings:
        formats.write_run(storage.join(out, "run.monolingual.trec"), queries, ranked.monolingual)
    formats.write_qrels(storage.join(out, "qrels.trec"), task.judgements)
    storage.write_parquet(storage.join(out, "per_query.parquet"), ranked.table)
    mteb = formats.mteb(task, ids.fingerprint(task), summary, time.monotonic() - started)
    storage.write_json(storage.join(out, "mteb", f"{formats.file_name(task.name)}.json"), mteb)
    storage.write_json(storage.join(out, "results.json"), results)
    storage.commit(out, "evaluation", {"task": task.name, "model": config.encoder.model, "text": config.text})
    return results


def _shares(task: Task, ranked: Rankings, queries: Sequence[str]) -> dict[str, dict[str, float]]:
    top = [keys for _, hits in ranked.multilingual for keys in hits.ids[:, : bias.TOP].tolist()]
    return bias.language_shares(task.queries["lang"].to_pylist(), top, [task.relevant[query] for query in queries])


def _counts(task: Task, system: EvaluatedSystem, known: ids.Known) -> dict[str, int | None]:
    judged = [query for query in task.queries["id"].to_pylist() if task.judgements.get(query)]
    return {
        "queries": len(task.queries),
        "documents": system.documents,
        "queries_without_judgements": len(task.queries) - len(judged),
        "queries_without_relevant": sum(not task.relevant[query] for query in judged),
        "queries_without_results": system.unanswered,
        "missing_documents": len(known.missing),
    }


def _left_out(task: Task, system: EvaluatedSystem, known: ids.Known) -> dict[str, int]:
    """How many judged queries, documents and queries' own documents the protocol left out."""
    own = known.identical
    if isinstance(ranker := system.rankers[0][0], RunRanker):
        own &= ranker.own
    return {
        **task.left_out,
        "duplicate_documents": task.left_out["duplicate_documents"] + system.duplicates,
        "identical_ids": len(own),
    }


def _claim(config: EvaluateConfig, task: Task, fingerprint: Mapping[Any, Any] | None) -> dict[str, Any]:
    where: dict[str, Any] = {"out": True, "streaming": True, "cache": True, "collection": True}
    return {
        **config.model_dump(mode="json", exclude={**where, "encoding": set(config.encoding.FREE)}),
        "ignore_identical_ids": task.ignore_identical_ids,
        "model_fingerprint": fingerprint,
        "run_version": storage.version_of(config.run) if config.run else None,
    }
