"""Distillation: the distribution over a row's own passages that a reranker's scores make."""

from __future__ import annotations

import torch

from hbt_ray.config.losses import KLConfig
from hbt_ray.train.losses.reranked import own_scores
from hbt_ray.train.losses.whole import Whole


class KL:
    """The KL divergence of the model's distribution over a row's passages from the reranker's, as `DistillKLDivLoss` of
    sentence-transformers but for its factor, the square of the model's temperature: `weight` is there for that.
    """

    def __init__(self, config: KLConfig) -> None:
        self._teacher_temperature = config.teacher_temperature

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        """The loss of each of this rank's rows, floating [rows]; the cosines are divided by `temperature`, []."""
        student, teacher, there = own_scores(whole)
        nothing = torch.finfo(student.dtype).min
        found = (student / temperature).masked_fill(~there, nothing).log_softmax(dim=1)
        wanted = (teacher / self._teacher_temperature).masked_fill(~there, nothing).log_softmax(dim=1)
        return (wanted.exp() * (wanted - found)).masked_fill(~there, 0.0).sum(dim=1)
