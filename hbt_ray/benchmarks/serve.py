"""The time to an answer of `serve`, over HTTP with texts, and of the same model and one FAISS index in one process."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import httpx
import numpy as np
import uvicorn

from hbt_ray import storage
from hbt_ray.arrays import blocks
from hbt_ray.benchmarks import vectors
from hbt_ray.benchmarks.encode import made_encoder
from hbt_ray.benchmarks.search import plain_index
from hbt_ray.benchmarks.settings import ServeBenchmark
from hbt_ray.config import EncoderConfig, ServeConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.encode import embeddings, ledger, texts
from hbt_ray.encode.documents import hash_documents
from hbt_ray.encode.encode import identify
from hbt_ray.encode.spans import Texts
from hbt_ray.search.serving.app import create_app
from hbt_ray.search.serving.deploy import deployed
from hbt_ray.search.serving.models import match
from hbt_ray.search.serving.served import open_served

PART_ROWS = 4096  # as encode has it
LANGUAGE = "en"
log = logging.getLogger(__name__)


def measure(config: ServeBenchmark) -> dict[str, Any]:
    """Milliseconds to an answer, p50 and p95, of requests alone and several at a time, and of the peer alone."""
    facts = world_facts.fact_rows("train")["passage"].to_pylist()
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        model, source = storage.join(folder, "model"), storage.join(folder, "vectors")
        encoder = made_encoder(config.model, facts)
        encoder.export(model)
        _write(source, EncoderConfig(model=model, precision="fp32"), facts, config.rows)
        served = {"all": open_served("all", source, "0.95")}
        found = {}
        with (
            deployed(
                ServeConfig(collections={"all": source}, models={"m": model}), served, match({"m": model}, served)
            ) as it,
            _listening(create_app(it, None)) as url,
        ):
            for together in (1, config.together):
                found[f"{together} at a time"] = _ask(url, config, facts, together)
                log.info("%d at a time: %s ms", together, found[f"{together} at a time"])
        _, plain = plain_index(source)
        alone = []
        for query in facts[: config.requests]:
            begun = time.perf_counter()
            plain.search(encoder.model.encode([query], prompt_name="query"), config.k)
            alone.append(time.perf_counter() - begun)
    ours, peers = found["1 at a time"], _percentiles(alone)
    return {
        "ours_ms": found,
        "peer": "SentenceTransformer.encode and faiss.IndexFlatIP in one process, without texts",
        "peer_ms": peers,
        "ratio": round(ours["p50"] / peers["p50"], 3),
        "faiss": faiss.__version__,
    }


def _write(source: str, encoder: EncoderConfig, facts: list[str], rows: int) -> None:
    """A collection as `encode` writes it, of random vectors, as of this model."""
    identity, chance = identify(encoder), np.random.default_rng(0)
    parts: list[dict[str, Any]] = []
    hashes = []
    for block in blocks(rows, PART_ROWS):
        ids = [f"{LANGUAGE}:{number}" for number in range(block.start, block.stop)]
        found = Texts(
            ids,
            [f"{number}. {facts[number % len(facts)]}" for number in range(block.start, block.stop)],
            [0] * len(ids),
        )
        number, name = len(parts), f"{len(parts):06d}-{LANGUAGE}"
        entry = {"name": name, "language": LANGUAGE, "rows": len(ids), "stored_rows": len(ids), "number": number}
        matrix = vectors.unit(chance, len(ids), identity.width)
        sha256 = embeddings.write_part(embeddings.part_uri(source, name), ids, matrix, "float16")
        parts.append({**entry, "sha256": sha256, "texts": texts.write(source, found)})
        hashes.append(hash_documents(ids, found.texts))
    places = np.arange(rows)
    documents = ledger.write(source, ledger.of(np.concatenate(hashes), places // PART_ROWS, places % PART_ROWS))
    body = {
        "model": encoder.model, "model_fingerprint": identity.fingerprints["passage"], "role": "passage",
        "encoder": encoder.model_dump(mode="json"), "width": identity.width, "rows": rows,
        "rows_by_language": {LANGUAGE: rows}, "parts": parts, "documents": [documents],
    }  # fmt: skip
    storage.commit(source, "embeddings", body)


@contextlib.contextmanager
def _listening(app: Any) -> Iterator[str]:
    """A server in a thread while the block runs; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def _ask(url: str, config: ServeBenchmark, queries: list[str], together: int) -> dict[str, float]:
    with httpx.Client(base_url=url, timeout=300, trust_env=False) as client:

        def ask(query: str) -> float:
            begun = time.perf_counter()
            answer = client.post("/search", json={"query": query, "k": config.k})
            answer.raise_for_status()
            return time.perf_counter() - begun

        ask(queries[0])  # a connection, and threads, have started
        begun = time.perf_counter()
        with ThreadPoolExecutor(together) as pool:
            seconds = list(pool.map(ask, queries[: config.requests]))
        rate = config.requests / (time.perf_counter() - begun)
    return {**_percentiles(seconds), "requests_per_s": round(rate, 1)}


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}": round(1000 * float(np.percentile(seconds, share)), 1) for share in (50, 95)}
