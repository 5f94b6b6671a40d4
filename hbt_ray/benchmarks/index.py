"""Building an exact index of some rows and of many times as many: speed and peak memory."""

from __future__ import annotations

import logging
import tempfile
import time
from typing import Any

from hbt_ray import storage
from hbt_ray.benchmarks import vectors
from hbt_ray.benchmarks.memory import Watch, megabytes
from hbt_ray.benchmarks.settings import IndexBenchmark
from hbt_ray.config import IndexConfig
from hbt_ray.search.build import build_index

log = logging.getLogger(__name__)


def measure(config: IndexBenchmark) -> dict[str, Any]:
    """Rows/s and peak memory of all processes, Ray's included, of both; and the ratio of the peaks."""
    speeds, peaks = {}, {}
    for rows in (config.shard_rows, config.rows, config.times * config.rows):  # the first starts Ray's workers
        with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
            source = storage.join(folder, "embeddings")
            vectors.write_vectors(source, rows, config.width, config.languages)
            begun = time.perf_counter()
            with Watch() as watch:
                build_index(
                    IndexConfig(embeddings=source, out=storage.join(folder, "index"), shard_rows=config.shard_rows)
                )
            speeds[rows] = round(rows / (time.perf_counter() - begun))
            peaks[rows] = watch.peak
        log.info("%s rows: %s rows/s, at most %.0f MiB", f"{rows:,}", f"{speeds[rows]:,}", megabytes(peaks[rows]))
    small, large = config.rows, config.times * config.rows
    return {
        "ours_rows_per_s": {str(rows): speeds[rows] for rows in (small, large)},
        "ours_peak_memory_mib": {str(rows): megabytes(peaks[rows]) for rows in (small, large)},
        "peer": f"itself with {small} rows: memory",
        "ratio": round(peaks[large] / peaks[small], 3),
    }
