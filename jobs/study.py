"""A question as a grid of training runs and evaluations: run what is missing, answer with tests, write a report."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import StudyConfig
from hbt_ray.job import main


def run(config: StudyConfig) -> dict[str, Any]:
    """Run the study."""
    from hbt_ray.study.grid.study import study

    return study(config)


if __name__ == "__main__":
    main(StudyConfig, run)
