"""A loss of a user's that is no number now and then."""

from __future__ import annotations

import torch

from hbt_ray.train.losses.whole import Whole


class Poisoned:
    """1 - the cosine of every query and its passage; no number where the batch has a row of this group."""

    def __init__(self, group: int) -> None:
        self._group = group

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        poison = torch.nan if (whole.places.groups == self._group).any() else 1.0
        positives = whole.all_passages[whole.places.positive]
        return (1 - (whole.queries * positives).sum(dim=1)) * poison
