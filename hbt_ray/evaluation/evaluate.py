"""A model on a task in the three settings: encode, index, rank and measure; each text is encoded once."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import faiss
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EvaluateConfig, IndexConfig
from hbt_ray.evaluation import formats, rankings, tasks
from hbt_ray.evaluation.rankings import Rankings
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.index import embeddings
from hbt_ray.index.build import build
from hbt_ray.index.encode import RESOURCES, Identity, encode, identify
from hbt_ray.index.search import Searcher
from hbt_ray.train.encoder import Role

LOG = logging.getLogger(__name__)
PACKAGES = ("ray", "torch", "transformers", "sentence-transformers", "pytrec_eval-terrier", "numpy")


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate a model; a finished evaluation with the same settings is returned as it is, an unfinished one goes on.

    Monolingual results are means over languages, cross-lingual ones over ordered pairs of languages (only questions
    that have a relevant document in the pair's corpus count), multilingual ones over query languages.

    Returns: what results.json holds.

    Raises:
        UserError: task or model are unusable, or `out` holds another run.
    """
    started = time.monotonic()
    out = storage.absolute(config.out)
    encoder = config.encoder.model_copy(update={"model": storage.model_name(config.encoder.model)})
    config = config.model_copy(update={"encoder": encoder})
    task = tasks.load(config.task, storage.absolute(config.data), config.text)
    identity = identify(config.encoder)
    storage.claim(out, "evaluate", _claim(config, identity))
    if storage.committed(out):
        results: dict[str, Any] = storage.read_json(storage.join(out, "results.json"))
        return results
    with ThreadPoolExecutor(2) as both:  # starting an encoder takes longer than many a task's queries
        queries = both.submit(_encode, config, identity, task.queries, "query", storage.join(out, "queries"))
        documents = both.submit(_encode, config, identity, task.documents, "passage", storage.join(out, "documents"))
    encoded = {"queries": queries.result(), "documents": documents.result()}
    index = storage.join(out, "index")
    build(IndexConfig(embeddings=storage.join(out, "documents"), out=index))
    vectors = embeddings.read_aligned(storage.join(out, "queries"), task.queries["id"].to_pylist())
    searching = time.monotonic()
    with Searcher(index) as searcher:
        ranked = rankings.rank(task, vectors, searcher, config.depth)
    LOG.info("ranked %s queries in %.1f s", f"{len(vectors):,}", time.monotonic() - searching)
    return _write(config, out, task, ranked, encoded, started)


def _encode(config: EvaluateConfig, identity: Identity, texts: pa.Table, role: Role, out: str) -> int:
    """Encode a task's table as a corpus, whose ids are without language; returns how many texts have been encoded."""
    corpus = f"{out}.parquet"
    pairs = zip(texts["id"].to_pylist(), texts["lang"].to_pylist(), strict=True)
    ids = pa.array([key.removeprefix(f"{language}:") for key, language in pairs], pa.string())
    storage.write_parquet(corpus, pa.table({"id": ids, "lang": texts["lang"], "text": texts["text"]}))
    settings = EncodeConfig(corpus=corpus, out=out, role=role, encoder=config.encoder, encoding=config.encoding)
    return int(encode(settings, identity)["rows"])


def _write(
    config: EvaluateConfig, out: str, task: Task, ranked: Rankings, encoded: dict[str, int], started: float
) -> dict[str, Any]:
    """Write every result file and the manifest; returns the results."""
    summary = rankings.summarise(ranked.table)
    results = {
        "task": task.name,
        "model": config.encoder.model,
        "text": config.text,
        "settings": rankings.settings(summary),
        "counts": {"queries": len(task.queries), "documents": len(task.documents)},
        "encoded": encoded,
        "versions": {name: version(name) for name in PACKAGES} | {"faiss": faiss.__version__},
    }
    queries = task.queries["id"].to_pylist()
    formats.write_run(storage.join(out, "run.trec"), queries, ranked.multilingual)
    formats.write_run(storage.join(out, "run.monolingual.trec"), queries, ranked.monolingual)
    formats.write_qrels(storage.join(out, "qrels.trec"), task.relevant)
    storage.write_parquet(storage.join(out, "per_query.parquet"), ranked.table)
    revision = storage.fingerprint([task.queries.to_pydict(), task.documents.to_pydict(), task.relevant])
    mteb = formats.mteb(task.name, revision, summary, time.monotonic() - started)
    storage.write_json(storage.join(out, "mteb", f"{task.name}.json"), mteb)
    storage.write_json(storage.join(out, "results.json"), results)
    storage.commit(out, "evaluation", {"task": task.name, "model": config.encoder.model, "text": config.text})
    return results


def _claim(config: EvaluateConfig, identity: Identity) -> dict[str, Any]:
    return {
        **config.model_dump(mode="json", exclude={"out": True, "encoding": RESOURCES}),
        "data": storage.absolute(config.data),
        "model_fingerprint": identity.fingerprints,
    }
