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
from hbt_ray.benchmarks import vectors
from hbt_ray.benchmarks.memory import Watch, megabytes
from hbt_ray.benchmarks.settings import SearchBenchmark
from hbt_ray.config import IndexConfig
from hbt_ray.encode import collection, embeddings
from hbt_ray.search import streaming
from hbt_ray.search.build import build_index
from hbt_ray.search.ranking import merge
from hbt_ray.search.searcher import Searcher

log = logging.getLogger(__name__)


def measure(config: SearchBenchmark) -> dict[str, Any]:
    """Seconds of each, ratios to FAISS, how far both find the same, and the memory of a streaming search."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        source = storage.join(folder, "embeddings")
        vectors.write_vectors(source, config.rows, config.width, config.languages)
        build_index(IndexConfig(embeddings=source, out=storage.join(folder, "index")))
        queries = vectors.unit(np.random.default_rng(1), config.queries, config.width)
        with Watch() as before:
            pass
        with Watch() as watch:
            streaming_s, streamed = _timed(
                lambda: streaming.StreamingSearcher(source).search_languages(queries, config.k)
            )
        ids, plain = plain_index(source)
        cores = os.cpu_count() or 1
        found: dict[str, list[float]] = {}
        with Searcher(storage.join(folder, "index")) as searcher:
            searcher.search(queries[:1], config.k)  # actors and threads have started
            for _ in range(config.rounds):
                ours_s, ours = _timed(lambda: searcher.search(queries, config.k))
                found.setdefault("ours", []).append(ours_s)
                for threads in sorted({1, cores}):
                    faiss.omp_set_num_threads(threads)
                    peer_s, (_, rows) = _timed(lambda: plain.search(queries, config.k))
                    found.setdefault(f"FAISS, {threads} threads", []).append(peer_s)
                log.info("%s", {way: round(seconds[-1], 2) for way, seconds in found.items()})
    medians = {way: statistics.median(seconds) for way, seconds in found.items()}
    ours_s, *peers = medians.values()
    again = merge(streamed, config.k, len(queries))
    return {
        "ours_s": round(ours_s, 3),
        "ours_streaming_s": round(streaming_s, 3),
        "ours_streaming_memory_mib": megabytes(watch.peak - before.peak),
        "streaming_is_the_same": bool((again.ids == ours.ids).all() and (again.scores == ours.scores).all()),
        "peer": "faiss.IndexFlatIP in one process",
        "seconds": {way: round(seconds, 3) for way, seconds in medians.items()},
        "seconds_by_round": {way: [round(one, 3) for one in seconds] for way, seconds in found.items()},
        "ratios": {"same threads": round(ours_s / peers[-1], 3), "best of its threads": round(ours_s / min(peers), 3)},
        "same_documents": float((ids[rows] == ours.ids).mean()),
        "faiss": faiss.__version__,
    }


def plain_index(source: str) -> tuple[np.ndarray, faiss.IndexFlatIP]:
    """Ids and index of all vectors."""
    manifest = collection.manifest_of(source)
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
