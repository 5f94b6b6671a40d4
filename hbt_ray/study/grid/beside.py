"""Published scores beside a study's own, marked as theirs, with where their protocol is another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from hbt_ray.config import Grid
from hbt_ray.study.anchors import Anchor, anchors
from hbt_ray.study.grid import figures
from hbt_ray.study.grid.answer import Group, system_mean
from hbt_ray.study.grid.sections import Entry, Part, Sheet, label
from hbt_ray.terminal import number

OURS, THEIRS = "ours", "theirs"


def published(grid: Grid, groups: Sequence[Group], table: pa.Table) -> list[Part]:
    """One section for each task that scores are published of, and that the grid evaluates or names in `published`."""
    own = dict.fromkeys(task.task for task in grid.tasks)
    return [
        _part(task, found, groups if task in own else [], table)
        for task in dict.fromkeys([*own, *grid.published])
        if (found := [anchor for anchor in anchors(task) if anchor.subset is None])
    ]


def _part(task: str, found: Sequence[Anchor], groups: Sequence[Group], table: pa.Table) -> Part:
    keys = list(dict.fromkeys((anchor.setting, anchor.measure) for anchor in found))
    part = Part(f"Published: {task}")
    if not groups:
        part.texts.append(f"This study did not run {task}: the scores are here for the pattern, not to be compared.")
    part.texts += [f"Their protocol: {text}" for text in dict.fromkeys(anchor.differs for anchor in found)]
    rows: list[list[Entry]] = []
    points: list[tuple[str, bool, float]] = []
    for group in groups:
        for name, cells in group.systems.items():
            means = [
                system_mean(table, cells, task, setting, measure).mean if setting is not None else np.nan
                for setting, measure in keys
            ]
            rows.append(
                [Entry(label(group, name)), Entry(OURS), *(_entry(v, key) for v, key in zip(means, keys, strict=True))]
            )
            points.append((label(group, name), True, means[0]))
    theirs: dict[tuple[str, str, str], dict[tuple[str | None, str], float]] = {}
    for anchor in found:
        system = (anchor.model, anchor.strategy or "", anchor.source)
        theirs.setdefault(system, {})[anchor.setting, anchor.measure] = anchor.value
    for (model, strategy, source), values in theirs.items():
        name = ", ".join(filter(None, (model, strategy)))
        rows.append(
            [Entry(name), Entry(f"{THEIRS}: {source}"), *(_entry(values.get(key, np.nan), key) for key in keys)]
        )
        points.append((name, False, values.get(keys[0], np.nan)))
    columns = ["", "whose", *(" ".join(filter(None, key)) for key in keys)]
    part.sheets.append(Sheet(columns, rows, f"{task}: ours and theirs" if groups else f"{task}: theirs"))
    part.plots.append(figures.beside(task, " ".join(filter(None, keys[0])), points))
    return part


def _entry(value: float, key: tuple[str | None, str]) -> Entry:
    return Entry(number(value, 1 if key[1] == "rank_distance" else 4))
