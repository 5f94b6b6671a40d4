"""What a grid is said to take: the sum of its cells, a budget, and what is not known."""

from __future__ import annotations

from itertools import pairwise

import pytest
from small import grid

from hbt_ray.config import CostConfig, UserError
from hbt_ray.study.estimate import Workload, workload_cost
from hbt_ray.study.grid.cells import cells_of
from hbt_ray.study.grid.estimates import estimate, totals, within
from hbt_ray.study.grid.study import preset


def test_a_cell_costs_what_its_settings_say() -> None:
    study = preset("ratio", "full")
    cells = cells_of(study)
    cost = CostConfig(mfu=0.4, gpu_hour_price=3.0)
    found = estimate(study, cells, cost)
    work = Workload(
        "x", "FacebookAI/xlm-roberta-base", 20000, 256, gradcache=True, tasks=("xquad-r", "xquad", "tydiqa")
    )
    expected = workload_cost(work, cost)
    assert {one.cost.hours for one in found if one.cost} == {expected.hours}
    assert totals(found, set()) == pytest.approx({"gpu_hours": 33 * expected.hours, "cost": 33 * 3.0 * expected.hours})
    assert totals(found, {cells[0].id})["cost"] == pytest.approx(32 * 3.0 * expected.hours)


@pytest.mark.parametrize("name", ["strategies", "ratio", "sizes", "instructions", "large-models"])
def test_every_full_preset_has_an_estimate_without_data(name: str) -> None:
    study = preset(name, "full")
    found = estimate(study, cells_of(study), CostConfig())
    assert all(one.cost is not None for one in found)
    assert totals(found, set())["gpu_hours"] > 1


def test_a_larger_model_costs_more() -> None:
    study = preset("sizes", "full")
    hours = {
        one.cell.values["size"]: one.cost.hours for one in estimate(study, cells_of(study), CostConfig()) if one.cost
    }
    order = ["mE5-small", "mE5-base", "mE5-large", "XLM-R-XL"]
    assert all(hours[small] < hours[large] for small, large in pairwise(order))


def test_a_budget_takes_cells_in_order_and_refuses_when_none_fits() -> None:
    study = preset("ratio", "full")
    cells = cells_of(study)
    found = estimate(study, cells, CostConfig())
    assert found[0].cost is not None
    two = 2.5 * found[0].cost.hours
    taken = within(study.model_copy(update={"budget": study.budget.model_copy(update={"gpu_hours": two})}), found)
    assert [one.cell for one in taken] == cells[:2]
    poor = study.model_copy(update={"budget": study.budget.model_copy(update={"cost": 0.001})})
    with pytest.raises(UserError, match="budget: not one cell fits it: the cheapest takes"):
        within(poor, found)


def test_what_is_not_known_is_said() -> None:
    study = grid(fixed={**grid().fixed, "steps": None, "epochs": 2}, budget={"gpu_hours": 1})
    found = estimate(study, cells_of(study), CostConfig())
    assert all(one.cost is None and "epochs" in one.unknown for one in found)
    with pytest.raises(UserError, match="budget: what alpha 0.0, seed 0 takes is not known"):
        within(study, found)
