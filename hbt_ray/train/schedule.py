"""The learning rate over a run."""

from __future__ import annotations

import math

from hbt_ray.config import OptimizerConfig


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """The learning rate of a step of a run of `steps`: a function of these alone.

    It warms up in a straight line to the peak. Then, by `schedule`,

    - `linear`: it falls in a straight line, to zero after the last step;
    - `cosine`: it falls as half a cosine does, to zero after the last step (Loshchilov & Hutter 2017, arXiv 1608.03983,
      without restarts);
    - `wsd`: it stays at the peak and falls in a straight line in the last `decay` of the steps (warm-up, stable, decay:
      Hu et al. 2024, arXiv 2404.06395, whose fall is exponential; transformers' own default is the straight line).
    """
    warmup = int(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    left = (steps - step) / max(steps - warmup, 1)  # 1 at the end of the warm-up, 0 after the last step
    if config.schedule == "cosine":
        return config.learning_rate * (1 + math.cos(math.pi * (1 - left))) / 2
    if config.schedule == "wsd":
        return config.learning_rate * min(1.0, (steps - step) / max(config.decay * steps, 1))
    return config.learning_rate * left
