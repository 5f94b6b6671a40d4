"""Scripts that tests start to lose things: a Ray cluster of two nodes each, and its processes, which can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster


def run(script: Path, *arguments: str, timeout: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script that may import this module, apart from any other cluster of the machine; `timeout` in seconds."""
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="ray") as home:  # where a dead cluster's address stays unseen
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            env=inherited | {"RAY_TMPDIR": home, "PYTHONPATH": path} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def start(runtime_env: dict[str, Any] | None = None) -> tuple[Cluster, list[Any]]:
    """A cluster, which this process joins, and its two nodes of one CPU each beside the head, which has none."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 3},
        },
    )
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, runtime_env=runtime_env)
    return cluster, nodes


def processes(name: str = "") -> list[psutil.Process]:
    """Those that this process has started, and they, with `name` in their command line."""
    own = {process.pid for process in psutil.Process().children(recursive=True)}
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid in own and any(name in part for part in process.info["cmdline"] or [""])
    ]
