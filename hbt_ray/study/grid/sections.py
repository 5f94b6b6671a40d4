"""The parts of a study's report, as text, tables and plots; the page and the Markdown show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray.config import Grid
from hbt_ray.study import comparison_files
from hbt_ray.study.directions import IN_RANKS, LOWER_IS_BETTER, NO_DIRECTION
from hbt_ray.study.grid.answer import SEED, Findings, Group, Mean, system_mean
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.grid.results import headlines
from hbt_ray.study.plots import Plot
from hbt_ray.study.runs import SETTINGS
from hbt_ray.terminal import number

BIAS = ("rank_distance", "max_rank", "peer@20", "mrc@100", "complete@10", "language_preference@10")

FAMILIES = ("rank_distance", "max_rank", "peer", "mrc", "complete", "language_preference", "abs_language")


class Entry(NamedTuple):
    """What stands in a table: the text, and the cells that it comes from."""

    text: str
    cells: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A table: titles of its columns and its rows; the first column is read, the others are figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    title: str = ""


@dataclass
class Part:
    """A section of the report."""

    title: str
    texts: list[str] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)


def quality(groups: Sequence[Group], table: pa.Table, task: str) -> Sheet:
    """The mean mAP over seeds in every setting, and the interval of the mean."""
    return _means(groups, table, task, [(setting, "map", f"{setting} mAP ↑", 3) for setting in SETTINGS], "mAP")


def bias(groups: Sequence[Group], table: pa.Table, task: str) -> Sheet:
    """The measures of language bias."""
    chosen = [("multilingual", name, f"{name.replace('_', ' ')} {_arrow(name)}", 1 if name in IN_RANKS else 3)
              for name in BIAS]  # fmt: skip
    return _means(groups, table, task, chosen, "language bias, multilingual setting")


def others(groups: Sequence[Group], table: pa.Table, task: str) -> list[Sheet]:
    """The task's other measures, such as nDCG@10, MRR@10 or the F1 of the first document: a table a setting."""
    own = table.filter(pc.and_(pc.equal(table["task"], task), pc.is_null(table["query_language"])))
    keys = dict.fromkeys(zip(own["setting"].to_pylist(), own["measure"].to_pylist(), strict=True))
    found = []
    for setting in SETTINGS:
        chosen = [
            (setting, measure, f"{measure} ↑", 3)
            for of_setting, measure in keys
            if of_setting == setting and measure != "map" and not measure.startswith(FAMILIES)
        ]
        if chosen:
            found.append(_means(groups, table, task, chosen, f"other measures, {setting}"))
    return found


def widest(axis: str, groups: Sequence[Group], table: pa.Table, task: str) -> list[str]:
    """Where seeds disagree most: a run that did not learn hides in a mean. Nothing where a system has one seed."""
    found = headlines(table)
    ranges = []
    for group in groups:
        for name, cells in group.systems.items():
            keys = {cell.values.get(SEED): (cell.id, task, "multilingual", "map") for cell in cells}
            told = sorted((found[key], seed) for seed, key in keys.items() if key in found)
            if len(told) > 1:
                ranges.append((told[-1][0] - told[0][0], label(group, name), told[0], told[-1]))
    if not ranges:
        return []
    _, name, (low, worst), (high, best) = max(ranges, key=lambda row: row[0])
    seeds = f"{number(low, 3)} with seed {worst} and {number(high, 3)} with seed {best}"
    return [f"Seeds differ most at {axis} {name}: multilingual mAP is {seeds}."]


def spread(groups: Sequence[Group], table: pa.Table, task: str) -> Sheet:
    """Robustness over pairs of languages: mean, worst tenth and spread of their mAP and MRR, seeds averaged."""
    own = table.filter(pc.and_(pc.equal(table["task"], task),
                                       pc.equal(table["setting"], "cross-lingual")))  # fmt: skip
    by_key: dict[tuple[str, str, str], list[float]] = {}
    for row in own.to_pylist():
        if row["query_language"] is not None and row["measure"] in ("map", "mrr@10"):
            pair = f"{row['query_language']}-{row['pool']}"
            by_key.setdefault((row["cell"], row["measure"], pair), []).append(row["value"])
    rows = []
    for group in groups:
        for name, cells in group.systems.items():
            shown: list[Entry] = [Entry(label(group, name))]
            for measure in ("map", "mrr@10"):
                pairs = sorted({key[2] for key in by_key if key[1] == measure})
                values = np.array([
                    np.mean([by_key[cell.id, measure, pair][0] for cell in cells if (cell.id, measure, pair) in by_key])
                    for pair in pairs
                    if any((cell.id, measure, pair) in by_key for cell in cells)
                ])  # fmt: skip
                if not len(values):
                    shown += [Entry("–")] * 3
                    continue
                worst = np.sort(values)[: max(1, len(values) // 10)].mean()
                of_pairs = (values.mean(), worst, values.std())
                shown += [Entry(number(float(value), 3), _members(cells)) for value in of_pairs]
            rows.append(shown)
    columns = ["", *(f"{m} {w}" for m in ("mAP", "MRR@10") for w in ("mean of pairs", "worst tenth", "spread (sd)"))]
    return Sheet(columns, rows, "cross-lingual pairs of languages")


def tests(group: Group, found: Mapping[str, Any]) -> Sheet:
    """The comparison of a group with its baseline."""
    titles = comparison_files.COLUMNS
    rows = []
    for row in comparison_files.comparison_rows(found):
        whose = {"of baseline": found["baseline"], "of system": row[0]}
        rows.append([
            Entry(text, _members(group.systems[whose[title]]) if title in whose else ())
            for title, text in zip(titles, row, strict=True)
        ])  # fmt: skip
    return Sheet(titles, rows, ", ".join(filter(None, (f"against {found['baseline']}", group.name))))


def all_cells(cells: Sequence[Cell], table: pa.Table, states: Mapping[str, str], tasks: Sequence[str]) -> Sheet:
    """Every cell with its state and its headline averages."""
    found = headlines(table)
    axes = list(cells[0].values)
    columns = ["cell", *axes, "state", *(f"{task} {setting} mAP" for task in tasks for setting in SETTINGS)]
    rows = []
    for cell in cells:
        values = [found.get((cell.id, task, setting, "map"), np.nan) for task in tasks for setting in SETTINGS]
        rows.append([
            Entry(cell.id), *(Entry(cell.values[axis]) for axis in axes), Entry(states[cell.id]),
            *(Entry(number(value, 4)) for value in values),
        ])  # fmt: skip
    return Sheet(columns, rows, "all cells")


def setup(grid: Grid) -> list[Sheet]:
    """The axes and the fixed settings."""
    axes = [[Entry(axis), Entry(_told(values))] for axis, values in grid.axes.items()]
    fixed = [[Entry(name), Entry(_told(value))] for name, value in grid.fixed.items()]
    data = [[Entry(name), Entry(_told(value))] for name, value in grid.stores.items()]
    tasks = [[Entry(task.task), Entry(_told(task.evaluate) or "as published")] for task in grid.tasks]
    return [
        Sheet(["axis", "values"], axes, "axes"), Sheet(["setting", "value"], fixed, "settings all cells share"),
        Sheet(["store", "made of"], data, "stores"), Sheet(["task", "settings"], tasks, "tasks"),
    ]  # fmt: skip


def seeds_of(findings: Findings) -> int:
    """The largest number of seeds of a system."""
    return max((len(cells) for group in findings.groups for cells in group.systems.values()), default=0)


def _means(
    groups: Sequence[Group], table: pa.Table, task: str, chosen: Sequence[tuple[Any, str, str, int]], title: str
) -> Sheet:
    names: list[str] = []
    members: list[tuple[tuple[str, str], ...]] = []
    means: list[list[Mean]] = []
    for group in groups:
        for name, cells in group.systems.items():
            names.append(label(group, name))
            members.append(_members(cells))
            means.append([system_mean(table, cells, task, setting, measure) for setting, measure, _, _ in chosen])
    kept = [i for i in range(len(chosen)) if not all(np.isnan(row[i].mean) for row in means)]
    rows = [
        [Entry(name), *(Entry(_interval(row[i], chosen[i][3]), of) for i in kept)]
        for name, of, row in zip(names, members, means, strict=True)
    ]
    return Sheet(["", *(chosen[i][2] for i in kept)], rows, title)


def _members(cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    """The cells that a figure comes from, and their seeds."""
    return tuple((cell.id, cell.values.get(SEED, "1")) for cell in cells)


def _arrow(measure: str) -> str:
    return "→ 0" if measure in NO_DIRECTION else "↓" if measure in LOWER_IS_BETTER else "↑"


def _interval(mean: Mean, digits: int) -> str:
    if np.isnan(mean.low):
        return number(mean.mean, digits)
    return f"{number(mean.mean, digits)} ± {number(mean.high - mean.mean, digits)}"


def label(group: Group, name: str) -> str:
    """What a system is called where several groups stand together."""
    return ", ".join(filter(None, (name, group.name)))


def _told(value: Any) -> str:
    """A setting as a reader sees it."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_told(of) or repr(of)}" for key, of in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    return str(value)
