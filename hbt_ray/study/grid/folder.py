"""Where things are in the folder of a study: by what they are made of, so it may be moved, and the study be renamed."""

from __future__ import annotations

from dataclasses import dataclass

from hbt_ray import storage
from hbt_ray.config import TaskSettings
from hbt_ray.study.grid.cells import Cell, task_id


@dataclass(frozen=True)
class StudyFolder:
    """The places in a study's output folder, each a URI."""

    out: str

    def store(self, identity: str) -> str:
        """The folder of a prepared store, by `store_id`."""
        return storage.join(self.out, "stores", identity)

    def mined(self, identity: str) -> str:
        """The folder of the hard negatives of a store, by `store_id`, with the vectors and the index they come from."""
        return storage.join(self.out, "mined", identity)

    def task(self, task: TaskSettings) -> str:
        """The folder of the files of a built-in task."""
        return storage.join(self.out, "tasks", task_id(task))

    def cell(self, cell: Cell) -> str:
        """The folder of a cell."""
        return storage.join(self.out, "cells", cell.id)

    def training(self, cell: Cell) -> str:
        """The folder of a cell's training run."""
        return storage.join(self.cell(cell), "training")

    def evaluation(self, cell: Cell, task: TaskSettings) -> str:
        """The folder of a cell's evaluation on a task."""
        return storage.join(self.cell(cell), "evaluations", task_id(task))

    def failed(self, cell: Cell) -> str:
        """The file that says why a cell failed, or was ended; there is none otherwise."""
        return storage.join(self.cell(cell), "failed.json")

    @property
    def log(self) -> str:
        """The folder of the study's log, a file an event."""
        return storage.join(self.out, "log")

    @property
    def results(self) -> str:
        """The table of all figures."""
        return storage.join(self.out, "results.parquet")

    @property
    def report(self) -> str:
        """The folder of the report."""
        return storage.join(self.out, "report")

    def done(self, cell: Cell, tasks: tuple[TaskSettings, ...]) -> bool:
        """Whether the cell is trained, and evaluated on all these tasks."""
        return storage.committed(self.training(cell)) and all(
            storage.committed(self.evaluation(cell, task)) for task in tasks
        )
