"""A model on a task in its settings: encode, index, rank and measure; each text is encoded once."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import faiss

from hbt_ray import storage
from hbt_ray.config import BM25, EvaluateConfig, EvaluatedEncoder, UserError
from hbt_ray.encode.encode import Identity, identify
from hbt_ray.evaluation import (
    answers,
    bias,
    bm25,
    cross_encoder,
    first_document,
    formats,
    ids,
    rankings,
    systems,
    tasks,
)
from hbt_ray.evaluation.metrics import columns, cutoff
from hbt_ray.evaluation.rankings import Rankings
from hbt_ray.evaluation.systems import EvaluatedSystem
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.model.build import local_models
from hbt_ray.model.files import ModelFiles

LOG = logging.getLogger(__name__)
# what it makes in its folder
OWNS = ("queries", "queries.parquet", "documents", "documents.parquet", "index", "run.trec", "run.monolingual.trec",
        "qrels.trec", "per_query.parquet", "mteb", "results.json", "manifest.json")  # fmt: skip
MTEB = "mteb:"  # begins the names of its tasks
PACKAGES = ("ray", "torch", "transformers", "sentence-transformers", "pytrec_eval-terrier", "bm25s", "numpy")


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
    runs = [name for name in (config.run, *config.fuse) if name not in (None, BM25)]
    inputs = [uri for uri in (config.data, config.corpus, *runs) if uri is not None]
    inputs += [config.rerank] if config.rerank is not None and ModelFiles(config.rerank).is_folder else []
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
    reranker = None if config.rerank is None else cross_encoder.fingerprint(config.rerank)
    known = ids.Known() if storage.committed(out) else ids.known(task, config)  # before anything is claimed
    with storage.claimed(out, "evaluate", _claim(config, task, fingerprint, reranker), OWNS):
        if not storage.committed(out):
            return _evaluate(config, identity, task, known, started)
    results: dict[str, Any] = storage.read_json(storage.join(out, "results.json"))
    return results


def _evaluate(
    config: EvaluateConfig, identity: Identity | None, task: Task, known: ids.Known, started: float
) -> dict[str, Any]:
    depth = max(config.depth, *(cutoff(name) for name in columns(task.headline)))
    if config.rerank is not None:
        depth = max(depth, config.rerank_depth)
    with systems.prepared(config, identity, task, known, depth) as system:
        searching = time.monotonic()
        if not task.judged:
            task = answers.judge(task, system.queries, system.rankers[0][0], depth)
        ranked = first_document.with_answers(task, rankings.joined([
            rankings.rank(task, system.queries, ranker, depth, chosen, known.missing, system.identical)
            for ranker, chosen in system.rankers
        ]))  # fmt: skip
        if config.fuse:
            ranked = rankings.without_whole_ranks(ranked)
        LOG.info(
            "ranked and measured %s queries in %.1f s; this process has held %.2f GiB at most",
            f"{len(system.queries):,}",
            time.monotonic() - searching,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        )
        return _write(config, depth, task, ranked, system, known, started)


def _mteb(config: EvaluateConfig) -> dict[str, Any]:
    try:
        from hbt_ray.evaluation.mteb import evaluate_mteb  # here, since mteb is an extra, and takes seconds to import
    except ModuleNotFoundError as error:
        raise UserError(f"--task {config.task} needs {error.name}: install hbt-ray[mteb]") from None
    return evaluate_mteb(config)


def _identify(config: EvaluateConfig) -> tuple[Identity | None, Mapping[Any, Any] | None]:
    """The model, if one encodes, and what its rankings depend on, if that is not a run file."""
    if config.collection is not None and not config.encodes:
        raise UserError(f"--collection: with --run or --model {BM25} no vectors are used")
    if config.run is not None:
        return None, None
    if config.encodes:
        identity = identify(config.encoder)
        return identity, identity.fingerprints
    if config.encoder != EvaluatedEncoder(model=BM25):
        raise UserError(f"--model {BM25} searches by words: no other setting of an encoder applies to it")
    return None, bm25.FINGERPRINT


def _write(
    config: EvaluateConfig,
    depth: int,
    task: Task,
    ranked: Rankings,
    system: EvaluatedSystem,
    known: ids.Known,
    started: float,
) -> dict[str, Any]:
    """Write every result file and the manifest; returns the results."""
    out = config.out
    settings = config.settings or task.settings
    summary = rankings.summarise(ranked.table, settings)
    measures = [*columns(task.headline), *first_document.columns(ranked)]
    results: dict[str, Any] = {
        "task": task.name,
        "model": config.encoder.model,
        "text": config.text,
        "precision": config.encoder.precision if config.encodes else None,
        "fused": _fused(config, depth) if config.fuse else None,
        "reranked": {"model": config.rerank, "depth": config.rerank_depth} if config.rerank else None,
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
        "queries_without_results": len(system.unanswered),
        "missing_documents": len(known.missing),
    }


def _left_out(task: Task, system: EvaluatedSystem, known: ids.Known) -> dict[str, int]:
    """How many judged queries, documents and queries' own documents the protocol left out."""
    own = known.identical
    if system.own is not None:
        own &= system.own
    return {
        **task.left_out,
        "duplicate_documents": task.left_out["duplicate_documents"] + system.duplicates,
        "identical_ids": len(own),
    }


def _fused(config: EvaluateConfig, depth: int) -> dict[str, Any]:
    """Which rankings were fused and how: `depth` documents of each list."""
    how = {"rrf_k": config.rrf_k} if config.fusion == "rrf" else {"weights": list(config.fusion_weights)}
    rankings = [config.run or config.encoder.model, *config.fuse]
    return {"rankings": rankings, "fusion": config.fusion, **how, "depth": depth}


def _claim(
    config: EvaluateConfig, task: Task, fingerprint: Mapping[Any, Any] | None, reranker: str | None
) -> dict[str, Any]:
    left: dict[str, Any] = {"out": True, "streaming": True, "cache": True, "collection": True}
    # so that evaluations made before these settings were there stay what they are
    left |= {} if config.fuse else dict.fromkeys(("fuse", "fusion", "fusion_weights", "rrf_k"), True)
    left |= {} if config.rerank else {"rerank": True, "rerank_depth": True}
    claimed = {
        **config.model_dump(mode="json", exclude={**left, "encoding": set(config.encoding.FREE)}),
        "ignore_identical_ids": task.ignore_identical_ids,
        "model_fingerprint": fingerprint,
        "run_version": _version("--run", config.run) if config.run else None,
    }
    if config.fuse:
        claimed["fuse_versions"] = [
            bm25.FINGERPRINT if name == BM25 else _version("--fuse", name) for name in config.fuse
        ]
    if config.rerank:
        claimed["rerank_fingerprint"] = reranker
    return claimed


def _version(flag: str, run: str) -> list[Any]:
    try:
        return storage.version_of(run)
    except FileNotFoundError:
        raise UserError(f"{flag} {run}: there is no such file") from None
