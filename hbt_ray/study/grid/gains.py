"""How a gain scales with the size of the model: the difference of two values of an axis, over sizes and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import Grid, UserError
from hbt_ray.study.budget import Costed, compute_optimal
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.results import headlines
from hbt_ray.study.scaling import Point, Scaling, fit_scaling

LEAST = 3  # sizes, for a law to be fitted


def parameters(folder: StudyFolder, cell: Cell) -> int:
    """How many parameters the cell's model has; the cell is done."""
    return int(storage.read_manifest(folder.training(cell), "model")["parameters"])


def gain_points(grid: Grid, cells: Sequence[Cell], folder: StudyFolder, table: pa.Table, task: str) -> list[Point]:
    """The gain of each pair of cells that differ in the axis of `answer.between` alone, by the size of their model."""
    assert grid.answer.between is not None
    axis, gaining, baseline = grid.answer.between
    found = headlines(table)
    pairs: dict[tuple[tuple[str, str], ...], dict[str, Cell]] = {}
    for cell in cells:
        others = tuple((name, value) for name, value in cell.values.items() if name != axis)
        pairs.setdefault(others, {})[cell.values[axis]] = cell
    points = []
    for pair in pairs.values():
        if {str(gaining), str(baseline)} <= set(pair):
            values = [
                found.get((pair[str(one)].id, task, grid.answer.setting, grid.answer.measure), float("nan"))
                for one in (gaining, baseline)
            ]
            if not np.isnan(values).any():
                points.append(Point(float(parameters(folder, pair[str(gaining)])), values[0] - values[1]))
    return points


def gains(grid: Grid, cells: Sequence[Cell], folder: StudyFolder, table: pa.Table) -> list[tuple[Scaling, list[Point]]]:
    """The two laws fitted to the gains, and the gains themselves, on each task that has three sizes or more."""
    assert grid.answer.between is not None
    axis, gaining, baseline = grid.answer.between
    fitted = []
    for task in grid.tasks:
        points = gain_points(grid, cells, folder, table, task.task)
        if len({point.size for point in points}) >= LEAST:
            what = f"{task.task}: the gain of {gaining} over {baseline} ({axis}) in {grid.answer.setting} "
            fitted.append((fit_scaling(points, what + grid.answer.measure), points))
    return fitted


def best_within(grid: Grid, cells: Sequence[Cell], table: pa.Table, hours: Mapping[str, float]) -> str:
    """The best choice of cells, seeds averaged, that `answer.gpu_hours` a run pay for, as a sentence.

    It is empty without a budget or an estimate, and says so where the budget pays for none.
    """
    if grid.answer.gpu_hours is None or not hours:
        return ""
    found = headlines(table)
    points = []
    for cell in cells:
        value = found.get((cell.id, grid.tasks[0].task, grid.answer.setting, grid.answer.measure), float("nan"))
        if cell.id in hours and not np.isnan(value):
            name = ", ".join(f"{axis} {shown}" for axis, shown in cell.values.items() if axis != "seed")
            points.append(Costed(name, hours[cell.id], value))
    try:
        return compute_optimal(points, grid.answer.gpu_hours, "estimated GPU-hours").text
    except UserError as error:
        return f"{str(error)[0].upper()}{str(error)[1:]}."
