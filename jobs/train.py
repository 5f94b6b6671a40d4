"""Stream store to model: hybrid-batch training on Ray Train and DeepSpeed."""

from __future__ import annotations

import hbt_ray
from hbt_ray.config import TrainConfig
from hbt_ray.job import main

if __name__ == "__main__":
    main(TrainConfig, lambda config: hbt_ray.train_model(config))
