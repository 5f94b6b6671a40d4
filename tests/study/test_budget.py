"""The best choice within a budget."""

from __future__ import annotations

import pytest

from hbt_ray.config import UserError
from hbt_ray.study.budget import Costed, compute_optimal

CELLS = [
    Costed("large", 300.0, 0.70),
    Costed("small", 20.0, 0.60),
    Costed("base", 110.0, 0.66),  # two seeds: 0.65 for 100
    Costed("base", 90.0, 0.64),
    Costed("base, no hard negatives", 95.0, 0.58),
    Costed("base, slow", 120.0, 0.65),
]


@pytest.mark.parametrize(
    ("budget", "best", "frontier", "following"),
    [
        (20, "small", ["small"], "base"),
        (99.9, "small", ["small"], "base"),
        (100, "base", ["small", "base"], "large"),
        (299, "base", ["small", "base"], "large"),
        (1e6, "large", ["small", "base", "large"], None),
    ],
)
def test_the_frontier_up_to_the_budget(budget: float, best: str, frontier: list[str], following: str | None) -> None:
    choice = compute_optimal(CELLS, budget)
    assert choice.best.name == best
    assert [cell.name for cell in choice.frontier] == frontier
    assert (choice.next.name if choice.next else None) == following


def test_the_sentence_says_what_was_run_and_no_more() -> None:
    assert compute_optimal(CELLS, 150).text == (
        "With 150 GPU-hours, base is the best of 4 cells that fit, of 5: score 0.6500 for 100 GPU-hours. The cheapest"
        " that scores higher, large (0.7000), costs 300. Nothing is said of what was not run."
    )
    assert "No cell that was run scores higher." in compute_optimal(CELLS, 300, "FLOPs").text


def test_a_budget_that_pays_for_nothing() -> None:
    with pytest.raises(UserError, match="no cell fits a budget of 19 GPU-hours: the cheapest, small, costs 20"):
        compute_optimal(CELLS, 19)
    with pytest.raises(UserError, match="no cell has a cost"):
        compute_optimal([], 19)
