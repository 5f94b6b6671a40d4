"""mosaicml-streaming's StreamingDataset with a torch DataLoader, in as many processes as ours has consumers.

Its ranks run as scripts of their own (`mosaic_rank`), since it does not import beside our versions as it is.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from hbt_ray.config import ShufflerBenchmark

WORKERS = (0, 1)  # of each rank's DataLoader: the better one counts
log = logging.getLogger(__name__)


def measure(uri: str, folder: str, count: int, config: ShufflerBenchmark) -> dict[str, Any] | str:
    """Pairs/s of all ranks together on the first `count` pairs of the store, written to `folder` as MDS."""
    if find_spec("streaming") is None:
        return "not installed"
    local = os.path.join(folder, "mds")
    tokens = {"query": config.query_tokens, "passage": config.passage_tokens}
    _ranks(1, {"write": {"uri": uri, "local": local, "count": count, "tokens": tokens}})
    found = {}
    for workers in WORKERS:
        task = {"local": local, "rows": config.batch_size // config.consumers, "workers": workers}
        said = _ranks(config.consumers, {"read": task})
        found[f"num_workers={workers}"] = round(sum(one["pairs_per_s"] for one in said))
        log.info("mosaicml-streaming, %d workers a rank: %d pairs/s", workers, found[f"num_workers={workers}"])
    return {
        "peer": "StreamingDataset(shuffle=True) with torch DataLoader, ndarray columns",
        "pairs": count,
        "processes": config.consumers,
        "pairs_per_s": max(found.values()),
        **found,
    }


def _ranks(count: int, task: dict[str, Any]) -> list[dict[str, Any]]:
    """What `count` ranks say that were started together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        env = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}}
        command = [sys.executable, "-m", "hbt_ray.study.benchmarks.mosaic_rank", json.dumps(task)]
        ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in ranks]
    for process in ranks:
        if process.returncode:
            raise RuntimeError(f"mosaicml-streaming ended with {process.returncode}")
    return [json.loads(text.splitlines()[-1]) for text in said]
