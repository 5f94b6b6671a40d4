"""A teacher's vectors: the distances by hand, and as sentence-transformers has them."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from losses_made import ROWS, WIDTH, global_batch, labels_of
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch.nn import functional

from hbt_ray.config import InfoNCEConfig
from hbt_ray.train.losses.right_answers import NO_PASSAGE
from hbt_ray.train.losses.teacher import Teacher
from hbt_ray.train.losses.whole import Whole

ONE = torch.tensor(1.0)


def whole_of(negatives: int, teacher: torch.Tensor, **changes: Any) -> Whole:
    batch = global_batch(negatives)._replace(**changes)
    labels = labels_of([InfoNCEConfig()], batch)._replace(teacher=teacher)
    return Whole(batch.queries, batch.passages.flatten(0, 1), labels)


def teacher_of(texts: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return functional.normalize(torch.randn(texts * ROWS, WIDTH, dtype=torch.float64, generator=generator), dim=-1)


@pytest.mark.parametrize("negatives", [0, 2])
@pytest.mark.parametrize("measure", ["cosine", "mse"])
def test_it_is_sentence_transformers(negatives: int, measure: Literal["cosine", "mse"]) -> None:
    teacher = teacher_of(2 + negatives)
    keys = torch.arange((1 + negatives) * ROWS).view(1 + negatives, ROWS)  # all are there
    whole = whole_of(negatives, teacher, keys=keys)
    theirs = EmbedDistillLoss(torch.nn.Identity(), distance_metric=measure)  # type: ignore[arg-type]
    columns = [whole.queries, *whole.passages.view(1 + negatives, ROWS, WIDTH)]
    expected = theirs.compute_loss_from_embeddings(columns, list(teacher.view(2 + negatives, ROWS, WIDTH)))
    assert Teacher(measure)(whole, ONE).mean().item() == pytest.approx(expected.item(), abs=1e-12)


def test_what_is_not_there_has_no_teacher() -> None:
    teacher = teacher_of(4)
    batch = global_batch(2)
    assert batch.keys[1, 2] == NO_PASSAGE
    found = Teacher("cosine")(whole_of(2, teacher), ONE)
    texts = torch.stack([batch.queries[2], batch.passages[0, 2], batch.passages[2, 2]])
    of_row = teacher.view(4, ROWS, WIDTH)[[0, 1, 3], 2]
    assert found[2].item() == pytest.approx((1 - (texts * of_row).sum(1)).mean().item(), abs=1e-12)
    assert (
        Teacher("mse")(whole_of(2, torch.cat([batch.queries, batch.passages.flatten(0, 1)])), ONE).tolist()
        == [0] * ROWS
    )
