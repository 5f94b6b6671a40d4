"""The scores that a reranker gave a row's own passages, beside the model's."""

from __future__ import annotations

import torch

from hbt_ray.train.losses.right_answers import NO_PASSAGE
from hbt_ray.train.losses.whole import Whole


def own_scores(whole: Whole) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The cosines of this rank's queries with their own passages, the reranker's scores of these, 0 where there is
    none, and where both are there: floating, floating and bool [rows, 1 + hard negatives]."""
    scores = whole.labels.scores
    assert scores is not None
    rows = len(whole.queries)
    passages = whole.passages.view(-1, rows, whole.passages.shape[1])
    cosines = torch.einsum("rw,nrw->rn", whole.queries, passages)
    there = ~scores.isnan() & (whole.labels.keys.view(-1, rows).T != NO_PASSAGE)
    return cosines, scores.nan_to_num().to(cosines.dtype), there
