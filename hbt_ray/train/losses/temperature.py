"""The temperature of each loss: fixed, a function of the step, or trained with the model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from hbt_ray.config.losses import LossConfig


class Temperatures(nn.Module):
    """The trained temperatures of a run's losses, as logarithms of their inverses, as CLIP (arXiv 2103.00020) has them.

    Here they have no bound. A step changes a logarithm by at most about the learning rate, and nothing decays it.
    """

    def __init__(self, losses: Sequence[LossConfig]) -> None:
        """Begin with the temperatures that the settings say; without one to train there is no parameter."""
        super().__init__()
        logs = [-math.log(one.temperature) for one in losses if one.learn_temperature]
        self.log_scales = nn.Parameter(torch.tensor(logs)) if logs else None

    def forward(self) -> torch.Tensor:
        """The temperatures, fp32 [losses that train theirs]."""
        return torch.empty(0) if self.log_scales is None else (-self.log_scales).exp()


def temperatures_at(losses: Sequence[LossConfig], learned: torch.Tensor, step: int, steps: int) -> list[torch.Tensor]:
    """The temperature of each loss at a step of a run of `steps`, floating [] each.

    Args:
        learned: what `Temperatures` gives, fp32 [losses that train theirs].
    """
    trained = iter(learned)
    return [next(trained) if one.learn_temperature else _scheduled(one, step, steps, learned) for one in losses]


def _scheduled(loss: LossConfig, step: int, steps: int, like: torch.Tensor) -> torch.Tensor:
    last = loss.temperature if loss.last_temperature is None else loss.last_temperature
    done = step / max(steps - 1, 1)
    return like.new_tensor(loss.temperature + (last - loss.temperature) * done, dtype=torch.float64)
