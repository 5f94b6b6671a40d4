"""Encode on two nodes while things are lost: `disturbed.py RUN.yaml LOSS... driver`, each LOSS `actor` or `node`.

A loss comes when a random few parts more have been committed. A driver takes what it started with it, as on the cloud.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import clusters
import psutil
import yaml
from ray.cluster_utils import Cluster

from hbt_ray import storage
from hbt_ray.config import EncodeConfig
from hbt_ray.encode.encode import encode_corpus


def commits_of(out: str) -> dict[str, str]:
    """The commit of each part that has one [URI], by the part's name."""
    fs, path = storage.filesystem(storage.join(out, "commits"))
    places = [name.split("/")[-2:] for name in fs.find(path) if name.endswith(".json")]
    return {name.removesuffix(".json"): storage.join(out, "commits", encoder, name) for encoder, name in places}


def lose(losses: list[str], cluster: Cluster, nodes: list[object], out: str, note: Path) -> None:
    chance = random.Random(str(losses))
    for loss in losses:
        least = len(commits_of(out)) + chance.randint(3, 15)
        while len(commits_of(out)) < least:
            time.sleep(0.02)
        time.sleep(chance.random() / 10)
        if loss == "actor":
            chance.choice(clusters.processes("PartEncoder")).kill()
        elif loss == "node":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(cluster.add_node(num_cpus=1))
        else:
            for process in clusters.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            note.write_text(" ".join(losses))
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    config = EncodeConfig.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text()))
    cluster, nodes = clusters.start()
    # the main thread is the one that can start a node
    threading.Thread(target=encode_corpus, args=(config,), daemon=True).start()
    lose(sys.argv[2:], cluster, nodes, config.out, Path(sys.argv[1]).with_name("lost"))
