"""Train on a cluster of two nodes of one CPU each, elastically, and lose one at step 4: `lose_a_node.py RUN.yaml`."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import ray
import yaml
from ray.cluster_utils import Cluster

from hbt_ray.config import TrainConfig
from hbt_ray.train.train import train

if __name__ == "__main__":
    config = TrainConfig.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text()))
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 3},
        },
    )
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address)

    def lose() -> None:
        manifest = Path(config.out) / "checkpoints" / config.name / "step-000000004" / "manifest.json"
        while not manifest.exists():
            time.sleep(0.05)
        cluster.remove_node(nodes[1], allow_graceful=False)
        Path(config.out, "lost").touch()

    threading.Thread(target=lose, daemon=True).start()
    train(config)
    ray.shutdown()
    cluster.shutdown()
