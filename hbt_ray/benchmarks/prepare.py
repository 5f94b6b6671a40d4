"""`prepare`: rows/s and peak memory, and those of one process that does the same in memory."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hbt_ray.benchmarks.memory import Watch, megabytes
from hbt_ray.benchmarks.settings import PrepareBenchmark
from hbt_ray.config import PrepareConfig
from hbt_ray.data.prepare import prepare

WORDS = 5000  # the texts are made of
LANGUAGES = ("de", "en", "fr", "ja")
QUERY_WORDS, PASSAGE_WORDS = 8, 30
ROW_GROUP_ROWS = 10_000
log = logging.getLogger(__name__)


def measure(config: PrepareBenchmark) -> dict[str, Any]:
    """Rows/s and peak memory [MiB] of both, with the vocabulary at hand; ours also with learning it."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        source = f"{folder}/pairs.parquet"
        _write(source, config.pairs)
        learning_s, learning_peak, _ = _ours(source, f"train:{config.pieces}", f"{folder}/learned")
        tokenizer = f"{folder}/learned/tokenizer"
        ours_s, peak, largest = _ours(source, tokenizer, f"{folder}/store")
        task = {"source": source, "tokenizer": tokenizer, "out": f"{folder}/plain.parquet"}
        command = [sys.executable, "-m", "hbt_ray.benchmarks.plain_prepare", json.dumps(task)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    peer = json.loads(said.splitlines()[-1])
    log.info("ours %.1f s, with learning %.1f s, peer %.1f s", ours_s, learning_s, peer["seconds"])
    return {
        "ours_rows_per_s": round(config.pairs / ours_s),
        "ours_rows_per_s_with_learning": round(config.pairs / learning_s),
        "ours_peak_memory_mib": megabytes(max(peak, learning_peak)),
        "ours_largest_process_mib": megabytes(largest),
        "peer": "one process: pyarrow, the same tokenizer, shuffle in memory",
        "peer_rows_per_s": round(config.pairs / peer["seconds"]),
        "peer_peak_memory_mib": megabytes(peer["peak_bytes"]),
        "ratio": round(peer["seconds"] / ours_s, 3),
    }


def _ours(source: str, tokenizer: str, out: str) -> tuple[float, int, int]:
    """Time [s], peak memory [bytes] of all processes, Ray's included, and the most that one of them had to itself."""
    begun = time.perf_counter()
    with Watch() as watch:
        prepare(PrepareConfig(source="pairs", input=(source,), tokenizer=tokenizer, out=out))
    return time.perf_counter() - begun, watch.peak, watch.largest


def _write(path: str, pairs: int) -> None:
    """Pairs of random words, a row group at a time."""
    chance = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = pa.array(["".join(chance.choice(letters, size=length)) for length in chance.integers(2, 11, size=WORDS)])

    def texts(count: int, length: int) -> pa.Array:
        drawn = words.take(pa.array((chance.random(count * length) ** 2 * WORDS).astype(np.int32)))
        offsets = pa.array(np.arange(count + 1, dtype=np.int32) * length)
        return pc.binary_join(pa.ListArray.from_arrays(offsets, drawn), " ")

    schema = pa.schema([(name, pa.string()) for name in ("query", "query_lang", "passage", "passage_lang")])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, pairs, ROW_GROUP_ROWS):
            count = min(ROW_GROUP_ROWS, pairs - first)
            tags = pa.array(np.array(LANGUAGES)[np.arange(count) % len(LANGUAGES)])
            columns = [texts(count, QUERY_WORDS), tags, texts(count, PASSAGE_WORDS), tags]
            writer.write_table(pa.table(columns, schema=schema))
