"""Cells of a study at once against the same cells in turn, on a cluster of several nodes on this machine."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import ray
from ray.cluster_utils import Cluster

from hbt_ray.benchmarks.settings import StudyBenchmark
from hbt_ray.config import Grid, UserError
from hbt_ray.study.grid.study import run_study

TEXTS = {"query_prefix": "", "passage_prefix": "", "max_query_tokens": 32, "max_passage_tokens": 32, "dropout": 0.0,
         "precision": "fp32"}  # fmt: skip


def measure(settings: StudyBenchmark) -> dict[str, Any]:
    """Run the cells at once and in turn, each study from its prepared store on, on nodes of two CPUs each.

    Raises:
        UserError: a cell fails.
    """
    ray.shutdown()  # the job's own: the nodes are a cluster of their own
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(settings.nodes):
        cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address)
    try:
        seconds = {name: _run(settings, parallel) for name, parallel in (("at once", settings.nodes), ("in turn", 1))}
    finally:
        ray.shutdown()
        cluster.shutdown()
    return {
        "unit": "s",
        "ours_s": seconds["at once"],
        "peer": "in turn",
        "peer_s": seconds["in turn"],
        "ratio": seconds["in turn"] / seconds["at once"],
    }


def _run(settings: StudyBenchmark, parallel: int) -> float:
    def grid(seeds: int) -> Grid:
        return Grid.model_validate({
            "name": "benchmark",
            "question": "How long?",
            "answer": {"axis": "strategy"},
            "stores": {"facts": {"sample": {"languages": ["de", "en", "ja"], "tokenizer": "train:2000"}}},
            "tasks": [{"task": "world-facts", "languages": ["de", "en", "ja"], "evaluate": {
                "encoding": {"dtype": "float32", "cpus_per_actor": 0.5, "tokenizers": 1}}}],
            "fixed": {"model": "nano", "steps": settings.steps, "batch_size": 64, "encoder": TEXTS},
            "axes": {"strategy": ["hybrid"], "seed": list(range(seeds))},
        })  # fmt: skip

    with tempfile.TemporaryDirectory() as out:
        run_study(grid(1), out, parallel=1)  # the store, and what processes import first
        began = time.monotonic()
        told = run_study(grid(1 + settings.cells), out, parallel=parallel)
        if told["done"] != 1 + settings.cells:
            raise UserError(f"{told['failed']} cells failed: {told.get('error')}")
        return time.monotonic() - began
