"""The cost of a cell: the formula computed by hand, and what the shipped figures of models and tasks rest on."""

from __future__ import annotations

import subprocess
import sys

import pytest
from transformers import AutoModel, PretrainedConfig, XLMRobertaConfig

from hbt_ray.config import CostConfig, UserError
from hbt_ray.model.shapes import SIZES
from hbt_ray.study.estimate import Workload, assumptions, cost_rows, store_bytes, workload_cost
from hbt_ray.study.known import model_shape, model_shapes, task_size, task_sizes

CELL = Workload("hybrid", "xlm-roberta-base", steps=1000, batch_size=256, hard_negatives=1, tasks=("xquad-r",))


def test_a_cell_by_hand() -> None:
    cost = workload_cost(CELL, CostConfig())
    weights = 12 * (4 * 768 * 768 + 2 * 768 * 3072)  # of XLM-R base, embeddings and biases left out
    query = 2 * weights * 20 + 4 * 12 * 768 * 20 * 20
    passage = 2 * weights * 150 + 4 * 12 * 768 * 150 * 150
    assert cost.train_flops == pytest.approx(1000 * 3 * 256 * (query + 2 * passage), rel=1e-12)
    assert cost.encode_flops == pytest.approx(13090 * query + 13014 * passage, rel=1e-12)
    assert cost.hours == pytest.approx((cost.train_flops + cost.encode_flops) / (0.35 * 989e12) / 3600, rel=1e-12)
    assert cost.hours == pytest.approx(0.03484, abs=0.00001)
    assert cost.price == pytest.approx(2.5 * cost.hours, rel=1e-12)
    assert cost.checkpoint_bytes == 278_043_648 * (2 * 3 + 1) * 4
    assert cost.vector_bytes == (13090 + 13014) * 768 * 4
    assert store_bytes(1000, 1, CostConfig()) == 1000 * ((20 + 2 * 150) * 4 + 8)


def test_what_each_assumption_does() -> None:
    base = workload_cost(CELL, CostConfig())
    dear, fast, longer = (
        workload_cost(CELL, CostConfig(**change))
        for change in ({"gpu_hour_price": 5.0}, {"mfu": 0.7}, {"query_tokens": 40, "passage_tokens": 300})
    )
    assert dear.price == pytest.approx(2 * base.price)
    assert dear.hours == base.hours
    assert fast.hours == pytest.approx(base.hours / 2)
    assert fast.train_flops == base.train_flops
    assert 2 < longer.train_flops / base.train_flops < 2.1  # attention grows with the square
    assert workload_cost(CELL, CostConfig(peak_tflops=312)).hours == pytest.approx(base.hours * 989 / 312)


@pytest.mark.parametrize(
    ("gradcache", "checkpointing", "passes"), [(True, False, 4), (False, True, 4), (True, True, 5)]
)
def test_texts_encoded_again_cost_again(gradcache: bool, checkpointing: bool, passes: int) -> None:
    again = Workload("", CELL.model, CELL.steps, CELL.batch_size, CELL.hard_negatives, gradcache, checkpointing)
    found = workload_cost(again, CostConfig())
    assert found.train_flops == pytest.approx(workload_cost(CELL, CostConfig()).train_flops * passes / 3)
    assert found.encode_flops == found.vector_bytes == 0


def test_the_table_adds_up_and_says_what_is_assumed() -> None:
    costs = [workload_cost(CELL, CostConfig()), workload_cost(Workload("nano", "nano", 1000, 256), CostConfig())]
    header, first, second, total = cost_rows(costs)
    assert (first[0], second[0], total[0]) == ("hybrid", "nano", "all")
    assert first[header.index("USD")] == "0.09"
    assert total[header.index("USD")] == "0.09"
    assert float(total[header.index("checkpoints GB")]) == pytest.approx(
        sum(cost.checkpoint_bytes for cost in costs) / 1e9, abs=0.01
    )
    assert "35% of 989 TFLOP/s, 2.5 USD a GPU-hour, queries of 20 and passages of 150" in assumptions(CostConfig())
    figures = costs[0].figures()
    assert figures["assumed"] == CostConfig().model_dump()
    assert (figures["workload"]["model"], figures["price"]) == (CELL.model, costs[0].price)


def test_parameters_follow_from_shapes() -> None:
    """Up to what shapes leave out: places, norms, biases and poolers."""
    for shape in (*model_shapes(), *(model_shape(size, 250_002) for size in SIZES)):
        in_matrices = shape.vocabulary * shape.width + shape.weights
        assert 0.98 < in_matrices / shape.parameters <= 1, shape.model
    assert model_shape("base", 250_002).weights == model_shape("xlm-roberta-base", 1).weights


def test_random_weights_have_the_parameters_that_are_said() -> None:
    size = SIZES["mini"]
    made: PretrainedConfig = XLMRobertaConfig(
        vocab_size=1000,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.feed_forward,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    parameters = sum(weight.numel() for weight in AutoModel.from_config(made).parameters())
    assert model_shape("mini", 1000).parameters == parameters


def test_sizes_of_tasks_add_up() -> None:
    for task in task_sizes():
        if task.languages:
            documents, queries = map(sum, zip(*task.languages.values(), strict=True))
            assert (documents, queries) == (task.documents, task.queries), task.task
    assert len(task_size("miracl").languages) == 18
    assert len({task.task for task in task_sizes()}) == len(task_sizes())
    names = [name for shape in model_shapes() for name in (shape.model, *shape.also)]
    assert len(set(names)) == len(names)


def test_what_is_not_known() -> None:
    with pytest.raises(UserError, match=r"the shape of you/me is not known without a network; known are nano, .*LaBSE"):
        workload_cost(Workload("", "you/me", 1, 2), CostConfig())
    with pytest.raises(UserError, match=r"the size of trec is not known; known are xquad-r, "):
        workload_cost(Workload("", "nano", 1, 2, tasks=("trec",)), CostConfig())


def test_an_estimate_loads_no_framework() -> None:
    code = "import sys, hbt_ray.study.estimate; assert not {'torch', 'ray', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
