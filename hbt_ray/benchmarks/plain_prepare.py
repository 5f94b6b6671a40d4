"""The plain way to prepare pairs, in one process: `python -m hbt_ray.benchmarks.plain_prepare '{"source": …}'`.

Its settings are JSON, and so is the line it ends with.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer

BATCH_ROWS = 1000  # tokenised at once
ROW_GROUP_ROWS = 1024


def plain_prepare(source: str, tokenizer: str, out: str) -> dict[str, Any]:
    """Read, tokenise, shuffle in memory, write; returns time [s] and the largest resident set [bytes]."""
    begun = time.perf_counter()
    tokens_of = AutoTokenizer.from_pretrained(tokenizer)
    found = []
    for batch in pq.ParquetFile(source).iter_batches(BATCH_ROWS):
        columns = {name: batch[name] for name in ("query_lang", "passage_lang")}
        for name in ("query", "passage"):
            ids = tokens_of(
                batch[name].to_pylist(),
                add_special_tokens=False,
                truncation=True,
                max_length=512,
                return_attention_mask=False,
            )["input_ids"]
            columns[name] = pa.array(ids, pa.list_(pa.int32()))
        found.append(pa.table(columns))
    table = pa.concat_tables(found)
    table = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
    pq.write_table(table, out, row_group_size=ROW_GROUP_ROWS, compression="zstd")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": time.perf_counter() - begun, "peak_bytes": peak}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(plain_prepare(**json.loads(sys.argv[1]))) + "\n")
