"""Distillation: the margins between a reranker's scores of a row's own passages."""

from __future__ import annotations

import torch

from hbt_ray.train.losses.reranked import own_scores
from hbt_ray.train.losses.whole import Whole


class MarginMSE:
    """The mean square of the differences of the model's and the reranker's margins, positive to hard negative (arXiv
    2010.02666, as sentence-transformers' `MarginMSELoss`)."""

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        """The loss of each of this rank's rows, floating [rows]; the cosines are divided by `temperature`, []."""
        student, teacher, there = own_scores(whole)
        both = there[:, :1] & there[:, 1:]
        margins = [scores[:, :1] - scores[:, 1:] for scores in (student / temperature, teacher)]
        squares = ((margins[0] - margins[1]) ** 2).masked_fill(~both, 0.0)
        return squares.sum(dim=1) / both.sum(dim=1).clamp(min=1)
