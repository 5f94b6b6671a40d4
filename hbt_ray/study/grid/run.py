"""Running the cells that are not done, several at once, on Ray Tune.

Ray Tune because it is Ray's scheduler of many runs: it retries, ends hopeless ones (ASHA) and keeps to a number at
once. What is done is not its business: a cell is done when its run and its evaluations are committed, so Tune's own
state is thrown away, and a study that is started again runs what is missing.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hbt_ray import storage
from hbt_ray.config import Grid, UserError
from hbt_ray.job import user_error
from hbt_ray.study.estimate import Cost
from hbt_ray.study.grid.cell import note, run_cell, train_config
from hbt_ray.study.grid.cells import Cell, cells_of
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.progress import StudyProgress
from hbt_ray.terminal import quiet_libraries
from hbt_ray.train import validations

CPUS = 1  # that a cell's own process reserves, besides its workers
TRIAL = {"cpu": 0.001}  # of Tune's process, which waits for the cell's
SECONDS = 2  # between two looks for evaluations of checkpoints, where cells may be ended early
log = logging.getLogger(__name__)


def run_cells(
    grid: Grid,
    cells: Sequence[Cell],
    folder: StudyFolder,
    parallel: int | None,
    retries: int,
    costs: Mapping[str, Cost],
) -> None:
    """Run the cells; one that fails leaves the reason in its folder and does not stop the others.

    Args:
        parallel: cells at once; as many as the cluster holds now when None.
        retries: times that a cell is tried again unless it failed by a mistake of the user's.
        costs: cell to its estimated cost, where it is known, for what is left.

    Raises:
        UserError: cells may be ended early, and their checkpoints are not evaluated.
    """
    if not cells:
        return
    if grid.early_end and any(cell.config.validation.task is None for cell in cells):
        raise UserError("early_end: fixed has to name validation.task, by whose figures hopeless cells are told")
    # its own files of each run, and its own words on what fails, which the study says itself
    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    by_id = {cell.id: cell for cell in cells}
    with tempfile.TemporaryDirectory(prefix="hbt-study-") as state, StudyProgress(cells, costs) as progress:
        found = tune.Tuner(
            tune.with_resources(_trial, TRIAL),
            param_space={
                "cell": tune.grid_search(list(by_id)),
                "grid": grid.model_dump(mode="json"),
                "out": folder.out,
            },
            tune_config=tune.TuneConfig(
                max_concurrent_trials=parallel or at_once(cells),
                scheduler=_scheduler(grid, cells),
                reuse_actors=grid.early_end is None,  # what a process has imported serves its next cell
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=state,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=retries),
                callbacks=[progress],
            ),
        ).fit()
        for result in found:
            cell = by_id[str((result.config or {})["cell"])]
            if result.error is not None:
                fail(folder, cell, user_error(result.error) or _reason(str(result.error)))
            elif _ended(grid, result.metrics or {}) and not folder.done(cell, grid.tasks):
                fail(folder, cell, "ended early: others were better after as many evaluations of checkpoints", "ended")


def _reason(error: str) -> str:
    """The last line of a traceback; of a process that was killed, what that most often means."""
    last = error.strip().splitlines()[-1]
    if "worker process has died" in last:
        return "a process of the training was killed, as happens where a node runs out of memory (Ray: worker died)"
    return last


def _ended(grid: Grid, last: Mapping[str, Any]) -> bool:
    """Whether Tune ended the trial with this last result; one that was interrupted has not ended, and goes on later."""
    enough = grid.early_end is not None and last.get("evaluations", 0) >= grid.early_end.grace
    return enough and bool(last.get("done")) and not last.get("failed")


def fail(folder: StudyFolder, cell: Cell, reason: str, event: str = "failed") -> None:
    """Leave in the cell's folder, and in the log, that it failed, or was ended, and why."""
    told = {"event": event, "reason": " ".join(reason.split())}
    storage.write_json(folder.failed(cell), told)
    note(folder, cell, event, {"reason": told["reason"]})


def at_once(cells: Sequence[Cell]) -> int:
    """How many cells the CPUs and GPUs of the cluster hold at once, at least one."""
    there = ray.cluster_resources()
    holds = []
    for cell in cells:
        config = cell.config
        workers = config.max_workers or config.workers
        holds.append(int(there.get("CPU", 1) // (CPUS + workers * config.cpus_per_worker)))
        if config.gpus_per_worker:
            holds.append(int(there.get("GPU", 0) // (workers * config.gpus_per_worker)))
    return max(1, min(holds))


def _trial(settings: dict[str, Any]) -> dict[str, Any]:
    """One cell; a mistake of the user's ends it, anything else is tried again.

    It runs outside of the resources that Tune reserves: all that it starts would have to fit in there.
    """
    grid, folder = Grid.model_validate(settings["grid"]), StudyFolder(settings["out"])
    outside = PlacementGroupSchedulingStrategy(None)  # type: ignore[arg-type]
    options = {"num_cpus": CPUS, "max_retries": 0, "scheduling_strategy": outside}
    running = ray.remote(**options)(_run).remote(grid, settings["cell"], folder)
    told: dict[str, Any] = {"score": 0.0, "evaluations": 0}  # Tune wants both in the last result too
    try:
        while not ray.wait([running], timeout=SECONDS if grid.early_end else None)[0]:
            told = _report(grid, settings["cell"], folder, told)
    except SystemExit:  # so Tune ends a trial, where it reports
        ray.cancel(running, force=True)
        raise
    return {**told, "failed": ray.get(running)}


def _run(grid: Grid, identity: str, folder: StudyFolder) -> str:
    """Run the cell in a process of its own; returns the line of the user's mistake that it ended with, if it did."""
    quiet_libraries()
    cell = _cell(grid, identity)
    try:
        run_cell(grid, cell, folder)
    except Exception as error:
        reason = user_error(error)
        if reason is None:
            raise
        fail(folder, cell, reason)
        return reason
    return ""


def _cell(grid: Grid, identity: str) -> Cell:
    return next(cell for cell in cells_of(grid) if cell.id == identity)


def _report(grid: Grid, identity: str, folder: StudyFolder, told: dict[str, Any]) -> dict[str, Any]:
    """Tell Ray Tune of evaluations of checkpoints since what it was `told` last, so that it can end hopeless cells."""
    config = train_config(grid, _cell(grid, identity), folder)
    found = validations.read_evaluations(config)
    for number, line in enumerate(found[told["evaluations"] :], start=told["evaluations"] + 1):
        told = {"score": line[config.validation.metric], "evaluations": number}
        tune.report({**told, "failed": ""})
    return told


def _scheduler(grid: Grid, cells: Sequence[Cell]) -> TrialScheduler:
    if grid.early_end is None:
        return FIFOScheduler()
    most = max(-(-(cell.config.steps or 1) // cell.config.validation.every) for cell in cells)
    return ASHAScheduler(
        time_attr="evaluations",
        metric="score",
        mode="max",
        max_t=most + 1,  # the last evaluation ends no cell: its tasks are still to come
        grace_period=min(grid.early_end.grace, most),
        reduction_factor=grid.early_end.reduction,
    )
