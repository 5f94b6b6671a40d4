"""A road of several jobs, in order: what is complete is not run again, the first that fails ends it."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import RoadConfig
from hbt_ray.job import main


def run(config: RoadConfig) -> dict[str, Any]:
    """Run the stages."""
    from hbt_ray.submission import stages

    return stages.run(config)


if __name__ == "__main__":
    main(RoadConfig, run, needs_ray=lambda _: False)
