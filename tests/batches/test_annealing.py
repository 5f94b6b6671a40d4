"""A share of monolingual batches that changes over the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import Layout, manifest_only

from hbt_ray.batches.draws import SHORT_CYCLE
from hbt_ray.batches.plan import Plan
from hbt_ray.config import PlanConfig

LAYOUT: Layout = [("pairs", ["en"], 100), ("pairs", ["de", "en", "fr"], 57), ("bitext", ["de", "en", "ru"], 45)]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 3000), st.integers(0, 4000))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_alpha_goes_in_a_straight_line(
    tmp_path: Path, alpha: float, last_alpha: float, alpha_steps: int, start: int
) -> None:
    config = PlanConfig(batch_size=2, alpha=alpha, last_alpha=last_alpha, alpha_steps=alpha_steps, seed=3)
    plan = Plan(manifest_only(tmp_path, LAYOUT), config)

    def expected(step: float) -> float:
        return alpha + (last_alpha - alpha) * min(step / alpha_steps, 1)

    steps = 400
    drawn = [plan.strata[stratum].kind == "monolingual" for stratum in plan.batches(start, start + steps).strata]
    for stop in (steps // 2, steps):  # each cycle, of random order, has what is expected of it
        wanted = sum(expected(start + step + 0.5) for step in range(stop))
        assert abs(sum(drawn[:stop]) - wanted) <= SHORT_CYCLE
    counts = plan.drawn(start + steps) - plan.drawn(start)
    assert (
        counts.tolist() == np.bincount(plan.batches(start, start + steps).strata, minlength=len(plan.strata)).tolist()
    )
    assert plan.taken(start + 7).sum() == 2 * (start + 7)


def test_an_annealed_share_goes_all_the_way(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, LAYOUT)
    plan = Plan(store, PlanConfig(batch_size=4, alpha=1.0, last_alpha=0.0, alpha_steps=640))
    kinds = [plan.strata[stratum].kind for stratum in plan.batches(0, 1000).strata]
    by_cycle = [kinds[start : start + 64].count("monolingual") for start in range(0, 960, 64)]
    assert by_cycle == [61, 54, 48, 42, 35, 29, 22, 16, 10, 3, 0, 0, 0, 0, 0]
    plain = Plan(store, PlanConfig(batch_size=4))
    assert {"last_alpha", "alpha_steps"} & set(plain.identity) == set() and plan.hash != plain.hash


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"last_alpha": 0.1}, "say both --last-alpha and --alpha-steps, or neither"),
        ({"strategy": "x-x", "last_alpha": 0.1, "alpha_steps": 5}, "--strategy x-x has no share that could change"),
    ],
)
def test_an_annealed_share_that_cannot_be(changes: dict[str, object], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        PlanConfig.model_validate(changes)
