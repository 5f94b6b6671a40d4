"""Exact search of our index, resident and streaming, and of one FAISS index in one process with as many threads."""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from hbt_ray import storage
from hbt_ray.config import IndexConfig, SearchBenchmark
from hbt_ray.index import embeddings, streaming
from hbt_ray.index.build import build
from hbt_ray.index.search import Searcher, merge
from hbt_ray.study.benchmarks import vectors
from hbt_ray.study.benchmarks.memory import Watch, megabytes

log = logging.getLogger(__name__)


def measure(config: SearchBenchmark) -> dict[str, Any]:
    """Seconds of each, the ratio to FAISS, how far both find the same, and the memory of a streaming search."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        source = storage.join(folder, "embeddings")
        vectors.write(source, config.rows, config.width, config.languages)
        build(IndexConfig(embeddings=source, out=storage.join(folder, "index")))
        queries = vectors.unit(np.random.default_rng(1), config.queries, config.width)
        with Watch() as before:
            pass
        with Watch() as watch:
            streaming_s, streamed = _timed(lambda: streaming.search_languages(source, queries, config.k))
        ids, plain = _plain(source)
        found: dict[str, list[float]] = {"ours": [], "faiss": []}
        with Searcher(storage.join(folder, "index")) as searcher:
            searcher.search(queries[:1], config.k)  # actors and threads have started
            for number in range(config.rounds):
                ours_s, ours = _timed(lambda: searcher.search(queries, config.k))
                peer_s, (_, rows) = _timed(lambda: plain.search(queries, config.k))
                found["ours"].append(ours_s)
                found["faiss"].append(peer_s)
                log.info("%d/%d: ours %.2f s, FAISS %.2f s", number + 1, config.rounds, ours_s, peer_s)
    ours_s, peer_s = (statistics.median(seconds) for seconds in found.values())
    again = merge(streamed, config.k, len(queries))
    return {
        "ours_s": round(ours_s, 3),
        "ours_streaming_s": round(streaming_s, 3),
        "ours_streaming_memory_mib": megabytes(watch.peak - before.peak),
        "streaming_is_the_same": bool((again.ids == ours.ids).all() and (again.scores == ours.scores).all()),
        "peer": "faiss.IndexFlatIP in one process",
        "peer_s": round(peer_s, 3),
        "seconds": {name: [round(one, 3) for one in seconds] for name, seconds in found.items()},
        "ratio": round(ours_s / peer_s, 3),
        "same_documents": float((ids[rows] == ours.ids).mean()),
        "faiss": {"version": faiss.__version__, "threads": faiss.omp_get_max_threads()},
    }


def _plain(source: str) -> tuple[np.ndarray, faiss.IndexFlatIP]:
    """Ids and index of all vectors, on all cores."""
    manifest = storage.read_manifest(source, "embeddings")
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    plain = faiss.IndexFlatIP(manifest["width"])
    ids = []
    for part in manifest["parts"]:
        keys, matrix = embeddings.read_part(source, part)
        plain.add(matrix)
        ids.append(keys.to_numpy(zero_copy_only=False))
    return np.concatenate(ids), plain


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result
