"""A loss in words, as the card and the dry run have it."""

from __future__ import annotations

import pytest

from hbt_ray.config import InfoNCEConfig, KLConfig, MarginMSEConfig, OwnLossConfig, TeacherConfig
from hbt_ray.config.losses import Kinds
from hbt_ray.train.losses.describe import describe


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (InfoNCEConfig(), "InfoNCE over the global batch, temperature 0.02"),
        (
            InfoNCEConfig(directions=("query-passage", "passage-query"), partition="per-direction", margin=0.1),
            "InfoNCE over the global batch (query-passage, passage-query; per-direction), without negatives that score"
            " above the positive by more than 0.1, temperature 0.02",
        ),
        (
            InfoNCEConfig(hardness=5.0, matryoshka_dims=(8, 4), matryoshka_weights=(1, 0.5), learn_temperature=True),
            "InfoNCE over the global batch, negatives (all) weighted by e^(5 * cosine), temperature 0.02 at first, then"
            " trained, Matryoshka over 1 * 8 + 0.5 * 4 dimensions",
        ),
        (
            KLConfig(temperature=0.1, last_temperature=0.05, weight=0.5, sources=("faq", "news")),
            "KL divergence from the scores of each pair's passage and hard negatives, teacher temperature 1,"
            " temperature 0.1 to 0.05 in a straight line, weight 0.5, for pairs of faq, news",
        ),
        (MarginMSEConfig(), "MarginMSE on the scores of each pair's passage and hard negatives, temperature 0.02"),
        (
            TeacherConfig(collections=("s3://b/q", "s3://b/p"), weight=10),
            "1 - cosine from a teacher's vectors of the same texts (s3://b/q, s3://b/p), weight 10",
        ),
        (
            OwnLossConfig(path="mine:Pull", options={"strength": 2}),
            "`mine:Pull` with {'strength': 2}, temperature 0.02",
        ),
    ],
)
def test_a_loss_in_words(loss: Kinds, words: str) -> None:
    assert describe(loss) == words
