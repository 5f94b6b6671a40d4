"""Train on two nodes of one CPU each, and lose something: `two_nodes.py RUN.yaml EVENT`.

`node`, `worker`: lost at step 4. `driver`: lost with all it has started while a checkpoint is being written.
`notice`: a node is told of its end while training, and lost after the next checkpoint. `memory`: workers get MEMORY
only. `nothing`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import clusters
import psutil
import ray
import yaml

from hbt_ray.config import TrainConfig, UserError
from hbt_ray.train.train import train

WORKER = "RayTrainWorker"  # of a process's name
MEMORY = 2 * 2**30  # of a worker process [bytes]


def wait_for_checkpoint(folder: Path) -> None:
    while not (folder / "step-000000004" / "manifest.json").exists():
        time.sleep(0.05)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def lose_everything_at_a_half_checkpoint(folder: Path) -> None:
    while True:
        time.sleep(0.001)
        if not [path for path in folder.glob("step-*") if not (path / "manifest.json").exists()]:
            continue
        stopped = clusters.processes(WORKER)
        for process in stopped:
            process.suspend()
        half = [path for path in folder.glob("step-*") if not (path / "manifest.json").exists()]
        if half and folder.joinpath("step-000000002").exists():  # and there is one to go on from
            for process in clusters.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            (folder.parent / "half").write_text(half[0].name)
            os.kill(os.getpid(), signal.SIGKILL)
        for process in stopped:
            process.resume()


if __name__ == "__main__":
    config = TrainConfig.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text()))
    event = sys.argv[2]
    setup = {"worker_process_setup_hook": limit_memory} if event == "memory" else None
    cluster, nodes = clusters.start(setup)
    folder = Path(config.out) / "checkpoints" / config.name

    def lose_a_node() -> None:
        wait_for_checkpoint(folder)
        cluster.remove_node(nodes[1], allow_graceful=False)
        Path(config.out, "lost").touch()

    def lose_a_worker() -> None:
        wait_for_checkpoint(folder)
        clusters.processes(WORKER)[0].kill()
        Path(config.out, "lost").touch()

    def lose_a_node_with_notice() -> None:
        while not Path(config.out, "metrics.jsonl").exists():
            time.sleep(0.05)
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "wanted elsewhere"]
        ray_command = str(Path(sys.executable).with_name("ray"))
        command = [ray_command, "drain-node", "--address", cluster.address, "--node-id", nodes[1].node_id]
        subprocess.run([*command, *reason, "--deadline-remaining-seconds", "120"], check=True)
        while not (saved := list(folder.glob("step-*/manifest.json"))):
            time.sleep(0.05)
        cluster.remove_node(nodes[1], allow_graceful=False)
        Path(config.out, "lost").write_text(saved[0].parent.name)

    events: dict[str, Callable[[], None]] = {
        "node": lose_a_node,
        "worker": lose_a_worker,
        "driver": lambda: lose_everything_at_a_half_checkpoint(folder),
        "notice": lose_a_node_with_notice,
        "memory": lambda: None,
        "nothing": lambda: None,
    }
    threading.Thread(target=events[event], daemon=True).start()
    try:
        train(config)
    except UserError as error:
        Path(config.out, "refused").write_text(str(error))
    ray.shutdown()
    cluster.shutdown()
