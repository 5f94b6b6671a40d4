"""mosaicml-streaming's StreamingDataset with a torch DataLoader, in as many processes as ours has consumers.

Its ranks run as scripts of their own (`mosaic_rank`), since it does not import beside our versions as it is. A Ray task
starts them, so that they have the priority of Ray's workers, which is lower than that of other processes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import ray

from hbt_ray.benchmarks.settings import ShufflerBenchmark

WORKERS = (0, 1)  # of each rank's DataLoader: the better one counts
NAME = "StreamingDataset(shuffle=True) with torch DataLoader, ndarray columns"


def measure(uri: str, folder: str, count: int, config: ShufflerBenchmark) -> dict[str, float] | None:
    """Pairs/s of all ranks together on the first `count` pairs of the store, by number of loader workers; None when it
    is not installed. The pairs are kept in `folder` as MDS."""
    if find_spec("streaming") is None:
        return None
    start = ray.remote(num_cpus=0)(_ranks)
    local = os.path.join(folder, "mds")
    if not os.path.exists(local):
        tokens = {"query": config.query_tokens, "passage": config.passage_tokens}
        ray.get(start.remote(1, {"write": {"uri": uri, "local": local, "count": count, "tokens": tokens}}))
    found = {}
    for workers in WORKERS:
        task = {"local": local, "rows": config.batch_size // config.consumers, "workers": workers}
        said: list[dict[str, float]] = ray.get(start.remote(config.consumers, {"read": task}))
        found[f"num_workers={workers}"] = sum(one["pairs_per_s"] for one in said)
    return found


def _ranks(count: int, task: dict[str, Any]) -> list[dict[str, Any]]:
    """What `count` ranks say that were started together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        env = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}}
        command = [sys.executable, "-m", "hbt_ray.benchmarks.mosaic_rank", json.dumps(task)]
        ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in ranks]
    for process in ranks:
        if process.returncode:
            raise RuntimeError(f"mosaicml-streaming ended with {process.returncode}")
    return [json.loads(text.splitlines()[-1]) for text in said]
