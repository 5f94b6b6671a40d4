"""What the cells of a grid will take, by the formulas of `study/estimate.py`, and which of them a budget pays for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hbt_ray.config import CostConfig, Grid, UserError
from hbt_ray.data.sources.world_facts_templates import LANGUAGES
from hbt_ray.study.estimate import Cost, Workload, assumptions, cost_rows, workload_cost
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.known import task_size, task_sizes
from hbt_ray.terminal import console, table, warn


@dataclass(frozen=True)
class Estimate:
    """A cell and its cost; None where that is not known beforehand, and `unknown` says why."""

    cell: Cell
    cost: Cost | None
    unknown: str = ""


def estimate(grid: Grid, cells: Sequence[Cell], cost: CostConfig) -> list[Estimate]:
    """The cost of every cell; tasks whose sizes are not known are left out of it."""
    known = {size.task for size in task_sizes()}
    tasks = tuple(task.task for task in grid.tasks if task.task in known)
    return [_estimate(cell, tasks, cost) for cell in cells]


def within(grid: Grid, estimated: Sequence[Estimate]) -> list[Estimate]:
    """The cells, in the grid's order, whose estimates add up to no more than the budget.

    Raises:
        UserError: not one fits it, or a cell's cost is not known.
    """
    limits = {"gpu_hours": grid.budget.gpu_hours, "cost": grid.budget.cost}
    if not any(limits.values()):
        return list(estimated)
    taken: list[Estimate] = []
    spent = dict.fromkeys(limits, 0.0)
    for one in estimated:
        if one.cost is None:
            raise UserError(f"budget: what {one.cell.name} takes is not known: {one.unknown}")
        amounts = {"gpu_hours": one.cost.hours, "cost": one.cost.price}
        if all(limit is None or spent[name] + amounts[name] <= limit for name, limit in limits.items()):
            taken.append(one)
            spent = {name: spent[name] + amount for name, amount in amounts.items()}
    if not taken:
        least = min((one.cost for one in estimated if one.cost is not None), key=lambda cost: cost.hours)
        raise UserError(
            f"budget: not one cell fits it: the cheapest takes {least.hours:,.4g} GPU-hours,"
            f" {least.price:,.4g} {least.assumed.currency}"
        )
    return taken


def totals(taken: Sequence[Estimate], done: set[str]) -> dict[str, float]:
    """The sums over the cells that are still to run: `gpu_hours` and `cost`."""
    left = [one.cost for one in taken if one.cost is not None and one.cell.id not in done]
    return {"gpu_hours": sum(cost.hours for cost in left), "cost": sum(cost.price for cost in left)}


def show(grid: Grid, estimated: Sequence[Estimate], states: Mapping[str, str]) -> None:
    """Print the cells with their estimates and states, and what the estimates assume."""
    known = [one for one in estimated if one.cost is not None]
    if known:
        header, *rows = cost_rows([one.cost for one in known if one.cost is not None])
        shown = [[*row, states[one.cell.id]] for one, row in zip(known, rows, strict=False)]
        shown.append([*rows[-1], ""])
        console().print(table([*header, "state"], shown, title=f"{grid.name}: {len(estimated)} cells"))
        console().print(assumptions(known[0].cost.assumed), highlight=False)  # type: ignore[union-attr]
    for one in estimated:
        if one.cost is None:
            console().print(f"{one.cell.name}: {one.unknown} {states[one.cell.id]}", markup=False, highlight=False)
    without = sorted({task.task for task in grid.tasks} - {size.task for size in task_sizes()})
    if without:
        warn(f"the sizes of {', '.join(without)} are not known beforehand: the estimates leave their evaluation out")


def languages_of(task: str) -> frozenset[str]:
    """The languages of a task, where they are known without reading it; else none."""
    if task == "world-facts":
        return frozenset(LANGUAGES)
    try:
        return frozenset(task_size(task).languages)
    except UserError:
        return frozenset()


def _estimate(cell: Cell, tasks: tuple[str, ...], cost: CostConfig) -> Estimate:
    config = cell.config
    if config.steps is None:
        return Estimate(cell, None, "how many steps its epochs have is known once its store is prepared")
    work = Workload(
        name=cell.name,
        model=config.encoder.model,
        steps=config.steps,
        batch_size=config.batches.batch_size,
        hard_negatives=config.optimizer.hard_negatives,
        gradcache=config.engine.gradcache,
        activation_checkpointing=config.engine.activation_checkpointing,
        tasks=tasks,
    )
    try:
        return Estimate(cell, workload_cost(work, cost))
    except UserError as error:
        return Estimate(cell, None, str(error))
