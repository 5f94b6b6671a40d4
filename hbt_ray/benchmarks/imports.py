"""What a process costs before its first useful line: CPU time of its imports, as a ratio to `import torch` alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from hbt_ray.benchmarks.settings import ImportsBenchmark
from hbt_ray.config import UserError

PEER = "import torch"
MODEL = """
from hbt_ray.model.imports import import_sentence_transformers, without
import_sentence_transformers()
from transformers import XLMRobertaModel
"""
# what a process of ours imports before it works: on its way to its first line, and when it has built its model
CODES = {
    "training worker": "import hbt_ray.train.loop",
    "training worker with a model": f"import hbt_ray.train.loop{MODEL}with without('mlflow'): import deepspeed",
    "encoder actor": "import hbt_ray.encode.part_encoder",
    "encoder actor with a model": f"import hbt_ray.encode.part_encoder{MODEL}",
    "search actor": "import hbt_ray.search.shard",
}


def measure(settings: ImportsBenchmark) -> dict[str, Any]:
    """CPU time of every job's `--help` and of every kind of process, each next to the peer's in every round.

    Raises:
        UserError: there are no job scripts, or one of the processes fails.
    """
    jobs = sorted(Path(settings.jobs).glob("*.py"))
    if not jobs:
        raise UserError(f"--imports.jobs: no scripts in {settings.jobs}")
    commands = {f"jobs/{job.name} --help": [str(job), "--help"] for job in jobs}
    commands |= {name: ["-c", code] for name, code in CODES.items()}
    taken: dict[str, list[float]] = {name: [] for name in (PEER, *commands)}
    for command in (["-c", PEER], *commands.values()):
        cpu_seconds(command)  # byte code is written and files are in memory from here on
    for _ in range(settings.rounds):
        taken[PEER].append(cpu_seconds(["-c", PEER]))
        for name, command in commands.items():
            taken[name].append(cpu_seconds(command))
    seconds = {name: median(values) for name, values in taken.items()}
    return {
        "unit": "s of CPU time, user and system",
        "ours": {name: round(seconds[name], 3) for name in commands},
        "peer": {PEER: round(seconds[PEER], 3)},
        "ratio": {name: round(seconds[name] / seconds[PEER], 3) for name in commands},
    }


def cpu_seconds(arguments: list[str]) -> float:
    """CPU time of a Python process and of what it starts, user and system [s].

    Raises:
        UserError: it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise UserError(f"{' '.join(arguments)} fails: {done.stderr.strip().splitlines()[-1]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
