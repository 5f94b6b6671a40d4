"""The best model of a study, for others: results as `mteb` reads and submits them, and a card with the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import Grid
from hbt_ray.study.directions import LOWER_IS_BETTER
from hbt_ray.study.grid import sections
from hbt_ray.study.grid.answer import Group, system_mean
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.markdown import markdown_table


class Best(NamedTuple):
    """The system whose mean over seeds is best by the study's measure, and its first seed's cell.

    The first seed and not the best: the best of several is better than what the settings give.
    """

    group: Group
    name: str
    cell: Cell


def best_of_study(grid: Grid, groups: Sequence[Group], table: pa.Table) -> Best | None:
    """The best system on the grid's first task; None when nothing is done."""
    task, answer = grid.tasks[0].task, grid.answer
    found = [
        (system_mean(table, cells, task, answer.setting, answer.measure).mean, Best(group, name, cells[0]))
        for group in groups
        for name, cells in group.systems.items()
    ]
    known = [(value, best) for value, best in found if not np.isnan(value)]
    if not known:
        return None
    return (min if answer.measure in LOWER_IS_BETTER else max)(known, key=lambda one: one[0])[1]


def write_best(grid: Grid, best: Best, folder: StudyFolder, table: pa.Table) -> None:
    """Write `best/README.md`, the card, and `best/mteb/`, in the layout of mteb's cache of results; overwrites both."""
    out = storage.join(folder.out, "best")
    storage.clear(out)
    card = storage.read_bytes(storage.join(folder.training(best.cell), "model", "README.md")).decode()
    storage.write_bytes(storage.join(out, "README.md"), f"{card}\n{_measures(grid, best, table)}".encode())
    label = f"hbt_ray__{grid.name}-{best.cell.id}"
    for task in grid.tasks:
        source = storage.join(folder.evaluation(best.cell, task), "mteb")
        for name in storage.sizes(source):
            target = storage.join(out, "mteb", "results", label, best.cell.id, PurePosixPath(name).name)
            storage.write_bytes(target, storage.read_bytes(storage.join(source, name)))
    meta = {
        "name": label.replace("__", "/"),
        "revision": best.cell.id,
        "framework": ["Sentence Transformers", "PyTorch"],
    }
    storage.write_json(storage.join(out, "mteb", "results", label, best.cell.id, "model_meta.json"), meta)


def _measures(grid: Grid, best: Best, table: pa.Table) -> str:
    """The card's part on measures: of the system, over its seeds."""
    cells = best.group.systems[best.name]
    alone = Group(best.group.others, {best.name: cells}, best.name)
    lines = ["## Measures", "", f"Of {len(cells)} runs with other seeds, this model's among them; ± is half of the 95 %"
             " interval of their mean.", ""]  # fmt: skip
    for task in dict.fromkeys(task.task for task in grid.tasks):
        lines += [f"### {task}", ""]
        for sheet in (sections.quality([alone], table, task), *sections.others([alone], table, task),
                      sections.bias([alone], table, task)):  # fmt: skip
            if len(sheet.columns) > 1:
                rows = [[name, entry.text] for name, entry in zip(sheet.columns[1:], sheet.rows[0][1:], strict=True)]
                lines += [markdown_table([["measure", "value"], *rows]), ""]
    return "\n".join(lines)
