"""Our speed against a peer's in one run, as JSON."""

from __future__ import annotations

from typing import Any

from hbt_ray.benchmarks.settings import BenchmarkConfig
from hbt_ray.job import main


def run(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure."""
    from hbt_ray.benchmarks.run import benchmark

    return benchmark(config)


if __name__ == "__main__":
    main(BenchmarkConfig, run)
