"""InfoNCE by itself: what it is by hand, by its formula, and in sentence-transformers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from losses_made import global_batch, ours
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from hbt_ray.config import InfoNCEConfig
from hbt_ray.config.losses import Direction
from hbt_ray.train.losses.infonce import InfoNCE
from hbt_ray.train.losses.right_answers import NO_PASSAGE
from hbt_ray.train.losses.whole import Labels, Whole

ONE = torch.tensor(1.0, dtype=torch.float64)
ALL: tuple[Direction, ...] = ("query-passage", "passage-query", "query-query", "passage-passage")


def rows_of(labels: Labels, config: InfoNCEConfig | None = None) -> list[float]:
    """The losses where all vectors are the same, so that each is the logarithm of how many passages are compared."""
    vectors = torch.ones(len(labels.keys), 1, dtype=torch.float64)
    whole = Whole(vectors[: len(labels.groups)], vectors, labels)
    return InfoNCE(config or InfoNCEConfig())(whole, ONE).tolist()


def labels(groups: list[int], query_keys: list[int], keys: list[int]) -> Labels:
    return Labels(torch.tensor(groups), torch.tensor(query_keys), torch.tensor(keys))


def test_four_right_answers_of_one_query_are_no_negatives_of_each_other() -> None:
    """The same query in four rows of four groups, and of one group: nothing is left to compare with, the loss is 0."""
    assert rows_of(labels([0, 1, 2, 3], [7, 7, 7, 7], [10, 11, 12, 13])) == [0.0] * 4
    assert rows_of(labels([5, 5, 5, 5], [0, 1, 2, 3], [10, 11, 12, 13])) == [0.0] * 4


def test_right_answers_among_others() -> None:
    """Rows 0 to 3 have one query, which rows 4 and 5 do not ask: each is compared with two others, 4 and 5 with all."""
    asked = labels([0, 1, 2, 3, 4, 5], [7, 7, 7, 7, 8, 9], [10, 11, 12, 13, 14, 15])
    assert rows_of(asked) == pytest.approx([math.log(3)] * 4 + [math.log(6)] * 2, abs=1e-12)


def test_a_batch_larger_than_the_languages_rows() -> None:
    """Two rows, each there three times: no copy of the positive counts, three of the other's do."""
    assert rows_of(labels([0, 1] * 3, [7, 8] * 3, [10, 11] * 3)) == pytest.approx([math.log(4)] * 6, abs=1e-12)


def test_copies_of_a_right_answer_are_none_either() -> None:
    """Row 1 has row 0's query and answer 11, which is also a hard negative of row 0 and the answer to row 2.

    Row 0 leaves out 11 wherever it is, and the missing negative; what is left is its own positive, and 21 and 22, hard
    negatives of rows 1 and 2. Row 2 leaves out the copies of its positive: 10, 21 and 22 are left, and its own.
    """
    found = rows_of(labels([0, 1, 2], [7, 7, 8], [10, 11, 11, 11, 21, 22]))
    assert found == pytest.approx([math.log(3), math.log(3), math.log(4)], abs=1e-12)
    missing = rows_of(labels([0, 1, 2], [7, 7, 8], [10, 11, 11, 11, 21, NO_PASSAGE]))
    assert missing == pytest.approx([math.log(2), math.log(2), math.log(3)], abs=1e-12)


def test_right_answers_in_every_direction() -> None:
    """Rows 0 and 1 have one query, that 10 and 11 answer; row 2 has another, that 10 answers.

    Passages: rows 0 and 1 have no wrong one, row 2 has 11. Queries: 10 is wrong for none, 11 for row 2's alone; and
    each row's own pair counts once more.
    """
    one = labels([0, 1, 2], [7, 7, 8], [10, 11, 10])
    assert rows_of(one, InfoNCEConfig(directions=ALL[:1])) == pytest.approx([0.0, 0.0, math.log(2)], abs=1e-12)
    assert rows_of(one, InfoNCEConfig(directions=ALL[:2])) == pytest.approx([math.log(2), math.log(3), math.log(3)])


@pytest.mark.parametrize("negatives", [0, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"directions": ALL},
        {"directions": ALL[:2], "partition": "per-direction"},
        {"directions": ALL[:3]},
        {"hardness": 5.0, "hardness_of": "in-batch"},
        {"hardness": 5.0, "hardness_of": "all"},
        {"hardness": 5.0, "hardness_of": "hard"},
    ],
)
def test_it_is_sentence_transformers_where_no_answer_is_another_rows(negatives: int, changes: dict[str, Any]) -> None:
    batch = global_batch(negatives)
    keys = torch.arange(batch.keys.numel()).view_as(batch.keys)
    batch = batch._replace(groups=torch.arange(len(keys[0])), query_keys=torch.arange(len(keys[0])), keys=keys)
    names = {"query": "query", "passage": "doc"}
    hardness_of = {"in-batch": "in_batch_negatives", "all": "all_negatives", "hard": "hard_negatives"}
    theirs = MultipleNegativesRankingLoss(
        torch.nn.Identity(),  # type: ignore[arg-type]
        scale=1 / 0.1,
        directions=tuple(  # type: ignore[arg-type]
            "_to_".join(names[side] for side in one.split("-")) for one in changes.get("directions", ALL[:1])
        ),
        partition_mode=changes.get("partition", "joint").replace("-", "_"),
        hardness_mode=hardness_of.get(changes.get("hardness_of", "")),  # type: ignore[arg-type]
        hardness_strength=changes.get("hardness", 0.0),
    )
    expected = theirs.compute_loss_from_embeddings([batch.queries, *batch.passages], torch.empty(0))
    found, _ = ours((InfoNCEConfig(temperature=0.1, **changes),), batch)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_margin_is_above_the_positive() -> None:
    """The positive scores 0.8; others 0.85, 0.95 and 0.6: by a margin of 0.1 only 0.95 is no negative."""
    scores = torch.tensor([0.8, 0.85, 0.95, 0.6], dtype=torch.float64)
    passages = torch.stack([scores, (1 - scores**2).sqrt()], dim=1)
    queries = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    keys = torch.arange(4)
    whole = Whole(queries, passages, Labels(torch.tensor([0]), torch.tensor([0]), keys))
    for margin, compared in ((None, [0, 1, 2, 3]), (0.1, [0, 1, 3]), (0.0, [0, 3]), (-0.3, [0])):
        found = InfoNCE(InfoNCEConfig(margin=margin))(whole, ONE).item()
        assert found == pytest.approx(scores[compared].logsumexp(0).item() - 0.8, abs=1e-12), margin


def test_logits_are_fp32_for_half_precision_vectors() -> None:
    batch = global_batch(0)
    half = batch._replace(queries=batch.queries.bfloat16(), passages=batch.passages.bfloat16())
    loss, _ = ours((InfoNCEConfig(temperature=0.02),), half)
    double = half._replace(queries=half.queries.double(), passages=half.passages.double())
    exact, _ = ours((InfoNCEConfig(temperature=0.02),), double)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), abs=1e-5)


@pytest.mark.parametrize("negatives", [0, 2])
@pytest.mark.parametrize("directions", [ALL[:1], ALL])
def test_blocks_of_rows_change_nothing(negatives: int, directions: tuple[Direction, ...]) -> None:
    batch = global_batch(negatives)
    labels = Labels(batch.groups, batch.query_keys, batch.keys.flatten())
    found = []
    for block_scores in (10**6, 1, 3 * batch.keys.numel()):
        queries = batch.queries.clone().requires_grad_()
        passages = batch.passages.flatten(0, 1).clone().requires_grad_()
        loss = InfoNCE(InfoNCEConfig(directions=directions), block_scores)
        rows = loss(Whole(queries, passages, labels), torch.tensor(0.1))
        rows.mean().backward()
        assert queries.grad is not None and passages.grad is not None
        found.append((rows.detach(), queries.grad, passages.grad))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.allclose(one, two, atol=1e-12)
