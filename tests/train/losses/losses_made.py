"""Global batches of vectors, and what we make of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from reference import Global
from torch.nn import functional

from hbt_ray.config import InfoNCEConfig, KLConfig, MarginMSEConfig, OwnLossConfig, TeacherConfig
from hbt_ray.config.losses import Kinds
from hbt_ray.train.losses.objective import Objective, row_weights
from hbt_ray.train.losses.right_answers import NO_PASSAGE
from hbt_ray.train.losses.whole import Labels

ROWS, WIDTH = 8, 6
ALL = ("query-passage", "passage-query", "query-query", "passage-passage")
STEP, STEPS = 3, 10
OBJECTIVES: dict[str, tuple[Kinds, ...]] = {
    "InfoNCE": (InfoNCEConfig(temperature=0.1),),
    "scheduled temperature": (InfoNCEConfig(temperature=0.2, last_temperature=0.05),),
    "learned temperature": (InfoNCEConfig(temperature=0.1, learn_temperature=True),),
    "all directions, margin": (InfoNCEConfig(temperature=0.1, directions=ALL, margin=0.1),),
    "symmetric": (InfoNCEConfig(temperature=0.1, directions=ALL[:2], partition="per-direction"),),
    "hardness": (InfoNCEConfig(temperature=0.1, hardness=5.0),),
    "Matryoshka": (
        InfoNCEConfig(temperature=0.1, directions=ALL, matryoshka_dims=(6, 4, 2), matryoshka_weights=(1, 0.5, 0.25)),
    ),
    "own": (OwnLossConfig(path="own_losses:Pull", options={"strength": 1.0}, temperature=0.5),),
    "teacher": (TeacherConfig(collections=("/teacher",)),),
    "InfoNCE and a teacher": (
        InfoNCEConfig(temperature=0.1, learn_temperature=True),
        TeacherConfig(collections=("/teacher",), measure="mse", weight=20.0, sources=("faq", "news")),
    ),
    "several by source": (
        InfoNCEConfig(temperature=0.1, learn_temperature=True, sources=("faq", "news")),
        InfoNCEConfig(temperature=0.05, directions=ALL[:2], weight=0.3, matryoshka_dims=(6, 3)),
        OwnLossConfig(
            path="own_losses:Pull",
            options={"strength": 1.0},
            temperature=0.5,
            learn_temperature=True,
            sources=("news",),
        ),
    ),
}
DISTILLATION: dict[str, tuple[Kinds, ...]] = {
    "KL": (KLConfig(temperature=0.1, teacher_temperature=2.0),),
    "MarginMSE": (MarginMSEConfig(temperature=0.1, learn_temperature=True),),
    "KL and InfoNCE": (
        InfoNCEConfig(temperature=0.1, hardness=9.0, hardness_of="hard"),
        KLConfig(weight=0.5, temperature=0.1, sources=("faq",), matryoshka_dims=(6, 3)),
    ),
}
"""These need hard negatives."""


def objectives(negatives: int) -> dict[str, tuple[Kinds, ...]]:
    return OBJECTIVES | (DISTILLATION if negatives else {})


def global_batch(negatives: int) -> Global:
    """In fp64, with what makes masks: translations, other answers, a repeated passage, missing negatives and scores."""
    generator = torch.Generator().manual_seed(3)
    queries = torch.randn(ROWS, WIDTH, dtype=torch.float64, generator=generator)
    passages = torch.randn(1 + negatives, ROWS, WIDTH, dtype=torch.float64, generator=generator)
    negative_keys = torch.arange(100, 100 + ROWS * negatives).view(negatives, ROWS)
    scores = torch.randn(ROWS, 1 + negatives, generator=generator)
    if negatives:
        negative_keys[0, 2] = NO_PASSAGE
        scores[2, 1] = float("nan")
        negative_keys[0, 3] = 10  # the positive of row 0, as a hard negative of row 3
        scores[5] = float("nan")
    return Global(
        functional.normalize(queries, dim=-1),
        functional.normalize(passages, dim=-1),
        groups=torch.tensor([0, 1, 2, 1, 4, 5, 6, 7]),
        query_keys=torch.tensor([20, 21, 22, 23, 20, 25, 26, 22]),
        keys=torch.cat([torch.tensor([[10, 11, 12, 13, 14, 15, 15, 17]]), negative_keys]),
        sources=["faq", "news", "other", "faq", "faq", "news", "faq", "other"],
        scores=scores,
        teacher=functional.normalize(
            torch.randn(2 + negatives, ROWS, WIDTH, dtype=torch.float64, generator=generator), dim=-1
        ),
    )


def labels_of(losses: Sequence[Kinds], batch: Global, rows: slice = slice(None)) -> Labels:
    weights = row_weights(losses, np.array(batch.sources))
    return Labels(
        batch.groups[rows],
        batch.query_keys[rows],
        batch.keys[:, rows].flatten(),
        None if weights is None else torch.from_numpy(weights)[:, rows],
        None if batch.scores is None else batch.scores[rows],
        None if batch.teacher is None else batch.teacher[:, rows].flatten(0, 1),
    )


def ours(
    losses: Sequence[Kinds], batch: Global, rows: slice = slice(None), learned: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of some rows, as a rank has it, and the groups of all."""
    return Objective(losses, STEPS)(
        batch.queries[rows],
        batch.passages[:, rows].flatten(0, 1),
        torch.empty(0) if learned is None else learned,
        labels_of(losses, batch, rows),
        STEP,
    )
