"""What one cell does: train, then evaluate on every task. All of it goes on where an earlier attempt left it."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from hbt_ray import storage
from hbt_ray.config import Grid, TaskSettings, TrainConfig
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.storage.claims import GONE_SECONDS, FolderHeld
from hbt_ray.study.grid.cells import Cell, store_id, task_config, weighted
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.train.train import train

log = logging.getLogger(__name__)


def run_cell(grid: Grid, cell: Cell, folder: StudyFolder) -> None:
    """Train and evaluate a cell whose stores are prepared.

    Raises:
        UserError: its settings do not fit its stores, its model cannot be used, or its memory does not suffice.
    """
    note(folder, cell, "started")
    storage.remove_file(folder.failed(cell))
    config = train_config(grid, cell, folder)
    model = _alone(train, config)["model"]
    for task in grid.tasks:
        _alone(evaluate, evaluate_config(cell, folder, task, model))
    note(folder, cell, "done")


def train_config(grid: Grid, cell: Cell, folder: StudyFolder) -> TrainConfig:
    """The settings of the cell's run in this study."""
    uris = {name: folder.store(store_id(grid.stores[name], name)) for name in cell.stores}
    places: dict[str, Any] = {
        "data": weighted(cell.stores, uris),
        "out": folder.training(cell),
    }
    validation = cell.config.validation
    if validation.task is not None and validation.data is None:
        told = next((task for task in grid.tasks if task.task == validation.task and is_sample(task)), None)
        if told is not None:
            places["validation"] = validation.model_copy(update={"data": folder.task(told)})
    return cell.config.model_copy(update=places)


def evaluate_config(cell: Cell, folder: StudyFolder, task: TaskSettings, model: str) -> Any:
    """The settings of the cell's evaluation on a task: with the encoder that was trained, prompts included, in
    the precision of the task's own settings."""
    encoder = cell.config.encoder.model_dump(exclude={"model", "instructions", "dropout", "precision"})
    data = {"data": folder.task(task)} if is_sample(task) else {}
    return task_config(task, folder.evaluation(cell, task), model, encoder=encoder, **data)


def is_sample(task: TaskSettings) -> bool:
    """Whether the task's files are made by the study: the held-out facts of the built-in sample."""
    return task.task == "world-facts" and "data" not in task.evaluate


def note(folder: StudyFolder, cell: Cell, event: str, about: Mapping[str, Any] | None = None) -> None:
    """Leave a line in the study's log: what happened to which cell, and when."""
    now = time.time()
    name = f"{now:.6f}-{cell.id}-{event}-{uuid.uuid4().hex[:6]}.json"
    line = {"time": now, "cell": cell.id, "name": cell.name, "event": event, **(about or {})}
    storage.write_json(storage.join(folder.log, name), line)


def _alone(function: Any, config: Any) -> dict[str, Any]:
    """Run the function; wait while a driver that was killed on another machine still seems to be at work."""
    until = time.monotonic() + 2 * GONE_SECONDS
    while True:
        try:
            return function(config)
        except FolderHeld:
            if time.monotonic() > until:
                raise
            time.sleep(5)
