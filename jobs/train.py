"""Stream store to model: hybrid-batch training on Ray Train and DeepSpeed."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import TrainConfig
from hbt_ray.job import main


def run(config: TrainConfig) -> dict[str, Any]:
    """Train."""
    from hbt_ray.train.train import train

    return train(config)


if __name__ == "__main__":
    main(TrainConfig, run)
