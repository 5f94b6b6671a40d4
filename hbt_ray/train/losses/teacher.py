"""Distillation from the vectors of a teacher: each text's vector is drawn to the teacher's of the same text."""

from __future__ import annotations

from typing import Literal

import torch

from hbt_ray.train.losses.right_answers import NO_PASSAGE
from hbt_ray.train.losses.whole import Whole


class Teacher:
    """The mean over a row's texts, its query, positive and hard negatives, of the distance between the model's vector
    and the teacher's (EmbedDistill, arXiv 2301.12005, Eq. 7 and 8; `EmbedDistillLoss` of sentence-transformers)."""

    def __init__(self, measure: Literal["cosine", "mse"]) -> None:
        """`measure`: 1 - cosine, or the mean of the squared differences of the dimensions."""
        self._measure = measure

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        """The loss of each of this rank's rows, floating [rows]; no temperature is part of it.

        The teacher's vectors in `whole.labels` are as wide as the model's, and unit vectors as these.
        """
        teacher = whole.labels.teacher
        assert teacher is not None
        rows = len(whole.queries)
        vectors = torch.cat([whole.queries, whole.passages])
        teacher = teacher.to(vectors.dtype)
        if self._measure == "cosine":
            distances = 1 - (vectors * teacher).sum(dim=1)
        else:
            distances = ((vectors - teacher) ** 2).mean(dim=1)
        there = torch.cat([torch.ones_like(whole.labels.query_keys, dtype=torch.bool), whole.labels.keys != NO_PASSAGE])
        return (distances * there).view(-1, rows).sum(dim=0) / there.view(-1, rows).sum(dim=0)
