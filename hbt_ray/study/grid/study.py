"""`study`: a question to its answer: estimate, prepare what cells share, run what is missing, answer and report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from pydantic import ValidationError

from hbt_ray import languages, storage
from hbt_ray.command import validation_line
from hbt_ray.config import CostConfig, Grid, StudyConfig, UserError
from hbt_ray.parsing import parse_yaml, read_yaml
from hbt_ray.study.estimate import Cost
from hbt_ray.study.grid import estimates, page
from hbt_ray.study.grid.answer import answer
from hbt_ray.study.grid.best import best_of_study, write_best
from hbt_ray.study.grid.cells import Cell, cells_of, unknown_setting
from hbt_ray.study.grid.estimates import Estimate
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.results import write_results
from hbt_ray.study.grid.run import fail, run_cells
from hbt_ray.study.grid.shared import prepare_shared
from hbt_ray.terminal import console

# what it makes in its folder
OWNS = ("stores", "tasks", "facts", "cells", "log", "mined", "results.parquet", "report", "best")
log = logging.getLogger(__name__)


def study(config: StudyConfig) -> dict[str, Any]:
    """Run a preset or the grid of a file, as `run_study` does.

    Raises:
        UserError: as `run_study`, or there is no such file.
    """
    grid = read_grid(config.grid) if config.grid is not None else preset(str(config.preset), config.scale)
    return run_study(grid, config.out, config.parallel, config.retries, config.cost, config.dry_run)


def run_study(
    grid: Grid,
    out: str,
    parallel: int | None = None,
    retries: int = 1,
    cost: CostConfig | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Run the cells of a grid that are not done in the folder `out` [URI], and answer the grid's question.

    Args:
        parallel: cells at once; as many as the cluster holds when None.
        retries: times that a cell which failed is tried again, unless by a mistake of the user's.
        cost: what the estimates assume.
        dry_run: list the cells with their estimates, and end.

    Returns: `cells`, `done`, `failed`, `ended` (early), `excluded` (by the budget), and unless it is a dry run
        `answer`, `report` and `results`; `status` is `error`, and `error` says why, when a cell failed.

    Raises:
        UserError: the grid is wrong, or not one cell fits its budget.
    """
    cells, folder = cells_of(grid), StudyFolder(out)
    check_languages(grid)
    estimated = estimates.estimate(grid, cells, cost or CostConfig())
    taken = estimates.within(grid, estimated)
    excluded = {one.cell.id for one in estimated} - {one.cell.id for one in taken}
    done = {one.cell.id for one in taken if folder.done(one.cell, grid.tasks)}
    counts = {"cells": len(cells), "done": len(done), "excluded": len(excluded)}
    if dry_run:
        states = {
            cell.id: "over budget" if cell.id in excluded else "done" if cell.id in done else "" for cell in cells
        }
        estimates.show(grid, estimated, states)
        return {"dry_run": True, **counts, **estimates.totals(taken, done)}
    with storage.claimed(out, "study", {}, OWNS):
        chosen = [one.cell for one in taken]
        missing = [cell for cell in chosen if cell.id not in done and not _ended(folder, cell)]
        if missing:
            log.info("study %s: %d of %d cells to run", grid.name, len(missing), len(cells))
            broken = prepare_shared(grid, missing, folder)
            for cell in missing:
                for name in [name for name in cell.stores if name in broken][:1]:
                    fail(folder, cell, broken[name])
            able = [cell for cell in missing if not set(cell.stores) & set(broken)]
            run_cells(grid, able, folder, parallel, retries, _costs(taken))
        return _conclude(grid, cells, chosen, folder, counts, estimated)


def read_grid(uri: str) -> Grid:
    """The grid in a YAML file.

    Raises:
        UserError: there is no such file, or it is no grid.
    """
    return parse_grid(read_yaml(uri, "--grid"), f"--grid {uri}")


def parse_grid(values: Any, where: str) -> Grid:
    """The grid that a YAML file holds; `where` is what an error names.

    Raises:
        UserError: it is no grid.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} holds no grid")
    unknown = sorted(set(map(str, values)) - set(Grid.model_fields))
    if unknown:
        raise UserError(unknown_setting(where, unknown[0], list(Grid.model_fields)))
    try:
        return Grid.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {validation_line(error)}") from None


def preset(name: str, scale: str) -> Grid:
    """One of the grids that come with the package."""
    file = files("hbt_ray.study.grid") / "presets" / f"{name}.{scale}.yaml"
    return parse_grid(parse_yaml(file.read_bytes()), f"preset {name}")


def check_languages(grid: Grid) -> None:
    """Make sure that tasks whose languages are known have those that the grid asks of them.

    Raises:
        UserError: one does not.
    """
    for task in grid.tasks:
        known = estimates.languages_of(task.task)
        for tag in task.languages:
            language = languages.normalize(tag)
            if language is None:
                raise UserError(f"tasks: {task.task}: {tag!r} is no known language tag")
            if known and language not in known:
                raise UserError(f"tasks: {task.task} cannot serve {tag}: it has {', '.join(sorted(known))}")


def _ended(folder: StudyFolder, cell: Cell) -> bool:
    """Whether the cell was ended early: a rerun would end it again."""
    return storage.exists(folder.failed(cell)) and storage.read_json(folder.failed(cell))["event"] == "ended"


def _costs(estimated: Sequence[Estimate]) -> dict[str, Cost]:
    return {one.cell.id: one.cost for one in estimated if one.cost is not None}


def _conclude(
    grid: Grid,
    cells: Sequence[Cell],
    chosen: Sequence[Cell],
    folder: StudyFolder,
    counts: Mapping[str, Any],
    estimated: Sequence[Estimate],
) -> dict[str, Any]:
    """Write the table, the answer and the report, and say how it went."""
    done = [cell for cell in chosen if folder.done(cell, grid.tasks)]
    failed = {cell.id: storage.read_json(folder.failed(cell)) for cell in chosen if storage.exists(folder.failed(cell))}
    table = write_results(grid, done, folder)
    found = answer(grid, done, folder, table, {cell: cost.hours for cell, cost in _costs(estimated).items()})
    page.write_study(grid, cells, done, failed, folder, table, found, estimated)
    best = best_of_study(grid, found.groups, table)
    if best is not None:
        write_best(grid, best, folder, table)
    console().print(f"{grid.question}\n{found.sentence}", markup=False, highlight=False)
    ended = sum(one["event"] == "ended" for one in failed.values())
    line: dict[str, Any] = {
        **counts, "done": len(done), "failed": len(failed) - ended, "ended": ended, "answer": found.sentence,
        "report": storage.join(folder.report, "index.html"), "results": folder.results,
    }  # fmt: skip
    broken = [cell for cell in chosen if cell not in done and failed.get(cell.id, {}).get("event") != "ended"]
    if broken:
        first = failed.get(broken[0].id, {}).get("reason", "it was interrupted")
        line |= {
            "status": "error",
            "error": f"{len(broken)} of {len(chosen)} cells have no result, {broken[0].name}: {first}",
        }
    return line
