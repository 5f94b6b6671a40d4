"""Our speed against a peer's in one run, as JSON."""

from hbt_ray.job import main
from hbt_ray.study.benchmark import benchmark
from hbt_ray.study.benchmarks.settings import BenchmarkConfig

if __name__ == "__main__":
    main(BenchmarkConfig, benchmark)
