"""`prepare` in a process of its own, killed with all that it started when a condition holds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

RUN = """
import json, sys
import ray
from hbt_ray.config import PrepareConfig
from hbt_ray.data.pieces import Sizes
from hbt_ray.data.prepare import prepare

ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
prepare(PrepareConfig.model_validate_json(sys.argv[1]), Sizes(*json.loads(sys.argv[2])))
"""


def kill_when(settings: str, sizes: str, condition: Callable[[], bool]) -> None:
    """Start it with settings and sizes as JSON, and kill it as soon as `condition` holds."""
    arguments = [sys.executable, "-c", RUN, settings, sizes]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not condition():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in started:
            if child.is_running():
                child.kill()
        psutil.wait_procs(started, timeout=20)


def times(folder: Path, pattern: str = "*") -> dict[str, int]:
    """When each file below the folder that matches was written [ns]."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob(pattern) if path.is_file()}
