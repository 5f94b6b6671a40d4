"""Train on two nodes of one CPU each, and lose something: `two_nodes.py RUN.yaml node|worker|driver|nothing`.

A node or a worker is lost at step 4, the driver and all workers while a checkpoint is being written.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import ray
import yaml
from ray.cluster_utils import Cluster

from hbt_ray.config import TrainConfig
from hbt_ray.train.train import train


def workers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any("RayTrainWorker" in part for part in process.info["cmdline"] or [])
    ]


def wait_for_checkpoint(folder: Path) -> None:
    while not (folder / "step-000000004" / "manifest.json").exists():
        time.sleep(0.05)


def lose_everything_at_a_half_checkpoint(folder: Path) -> None:
    while True:
        time.sleep(0.001)
        if not [path for path in folder.glob("step-*") if not (path / "manifest.json").exists()]:
            continue
        stopped = workers()
        for process in stopped:
            process.suspend()
        half = [path for path in folder.glob("step-*") if not (path / "manifest.json").exists()]
        if half and folder.joinpath("step-000000002").exists():  # and there is one to go on from
            for process in stopped:
                process.kill()
            (folder.parent / "half").write_text(half[0].name)
            os.kill(os.getpid(), signal.SIGKILL)
        for process in stopped:
            process.resume()


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
    folder = Path(config.out) / "checkpoints" / config.name

    def lose_a_node() -> None:
        wait_for_checkpoint(folder)
        cluster.remove_node(nodes[1], allow_graceful=False)
        Path(config.out, "lost").touch()

    def lose_a_worker() -> None:
        wait_for_checkpoint(folder)
        workers()[0].kill()
        Path(config.out, "lost").touch()

    events: dict[str, Callable[[], None]] = {
        "node": lose_a_node,
        "worker": lose_a_worker,
        "driver": lambda: lose_everything_at_a_half_checkpoint(folder),
        "nothing": lambda: None,
    }
    threading.Thread(target=events[sys.argv[2]], daemon=True).start()
    train(config)
    ray.shutdown()
    cluster.shutdown()
