"""Speed as a ratio: ours and a peer's in one run, with the machine and the versions it was measured with."""

from __future__ import annotations

import importlib
import logging
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from hbt_ray import storage
from hbt_ray.benchmarks.settings import BenchmarkConfig
from hbt_ray.config import UserError

PACKAGES = (
    "numpy",
    "pyarrow",
    "ray",
    "torch",
    "transformers",
    "sentence-transformers",
    "datasets",
    "mosaicml-streaming",
)
log = logging.getLogger(__name__)


def benchmark(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure what `--name` says; returns ours, the peer's, their ratio, and what it was measured with.

    Raises:
        UserError: a package of the `bench` extra is missing.
    """
    try:
        module = importlib.import_module(f"hbt_ray.benchmarks.{config.name}")
    except ModuleNotFoundError as error:
        raise UserError(f"--name {config.name} needs {error.name}: install hbt-ray[bench]") from None
    settings = getattr(config, config.name)
    log.info("%s: %s", config.name, settings)
    result = {
        "benchmark": config.name,
        **module.measure(settings),
        "settings": settings.model_dump(mode="json"),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), **_versions()},
    }
    if config.out is not None:
        storage.write_json(storage.absolute(config.out), result)
    return result


def _cpu() -> str:
    """The processor as the system names it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
