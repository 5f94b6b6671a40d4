"""What a run minimises: the weighted sum of its losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hbt_ray.config.losses import InfoNCEConfig, Kinds, KLConfig, MarginMSEConfig, OwnLossConfig, TeacherConfig
from hbt_ray.train.losses.infonce import InfoNCE
from hbt_ray.train.losses.kl import KL
from hbt_ray.train.losses.margin_mse import MarginMSE
from hbt_ray.train.losses.matryoshka import Matryoshka
from hbt_ray.train.losses.own import OwnLoss
from hbt_ray.train.losses.teacher import Teacher
from hbt_ray.train.losses.temperature import temperatures_at
from hbt_ray.train.losses.whole import Labels, Loss, Whole


class Objective:
    """The mean over the rows of the weighted sum of losses, each of them only for rows of its sources."""

    def __init__(self, losses: Sequence[Kinds], steps: int) -> None:
        """`steps`: length of the run, by which temperatures may change.

        Raises:
            UserError: a loss of the user's cannot be imported or made.
        """
        self._configs = losses
        self._losses = [loss_of(one) for one in losses]
        self._steps = steps

    def __call__(
        self, queries: torch.Tensor, passages: torch.Tensor, learned: torch.Tensor, labels: Labels, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of this rank's rows, fp32 (or fp64 for fp64 vectors) [], whose gradient, averaged over ranks, is
        that of the whole batch in one process; and the groups of the global batch, int64 [all rows].

        Args:
            queries: unit vectors, floating [rows, width].
            passages: unit vectors, floating [rows * (1 + hard negatives), width]; the positives first, in row order.
            learned: the trained temperatures, fp32 [losses that train theirs].
            labels: of the rows.
            step: number of the global batch.
        """
        whole = Whole(queries, passages, labels)
        temperatures = temperatures_at(self._configs, learned, step, self._steps)
        total = torch.zeros_like(whole.queries[:, 0])
        for number, (config, loss) in enumerate(zip(self._configs, self._losses, strict=True)):
            rows = loss(whole, temperatures[number])
            weight = config.weight if labels.weights is None else labels.weights[number].to(rows.dtype)
            total = total + weight * rows
        return total.mean(), whole.places.groups


def loss_of(config: Kinds) -> Loss:
    """The loss with these settings.

    Raises:
        UserError: a loss of the user's cannot be imported or made.
    """
    loss = _by_kind(config)
    if config.matryoshka_dims:
        weights = config.matryoshka_weights or (1.0,) * len(config.matryoshka_dims)
        return Matryoshka(loss, dict(zip(config.matryoshka_dims, weights, strict=True)))
    return loss


def _by_kind(config: Kinds) -> Loss:
    match config:
        case InfoNCEConfig():
            return InfoNCE(config)
        case KLConfig():
            return KL(config)
        case MarginMSEConfig():
            return MarginMSE()
        case TeacherConfig():
            return Teacher(config.measure)
        case OwnLossConfig():
            return OwnLoss(config)


def row_weights(losses: Sequence[Kinds], sources: np.ndarray) -> np.ndarray | None:
    """The weight of each loss for rows of these sources, str [rows]: fp64 [losses, rows]; None: all are the same."""
    if not any(one.sources for one in losses):
        return None
    return np.stack([one.weight * (np.isin(sources, one.sources) | (not one.sources)) for one in losses])
