"""Stream store to model: hybrid-batch training on Ray Train and DeepSpeed."""

from functools import partial

from hbt_ray.config import TrainConfig
from hbt_ray.evaluation.validate import validate
from hbt_ray.job import main
from hbt_ray.train.train import train

if __name__ == "__main__":
    main(TrainConfig, partial(train, validate=validate))
