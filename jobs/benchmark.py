"""Our speed against a peer's in one run, as JSON."""

from hbt_ray.benchmarks.run import benchmark
from hbt_ray.benchmarks.settings import BenchmarkConfig
from hbt_ray.job import main

if __name__ == "__main__":
    main(BenchmarkConfig, benchmark)
