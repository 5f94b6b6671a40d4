"""What the cells that are done say about the question: means over seeds, differences with their tests, one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from hbt_ray.config import Grid, Setting
from hbt_ray.study.compare import SAME, compare_folders
from hbt_ray.study.directions import LOWER_IS_BETTER
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.gains import best_within, gains
from hbt_ray.study.grid.results import MTEB, headlines
from hbt_ray.study.runs import SETTINGS
from hbt_ray.study.scaling import Point, Scaling
from hbt_ray.study.significance import LEVEL
from hbt_ray.terminal import number

SEED = "seed"  # the axis whose values are repetitions of one thing
MEASURES = (
    "map",
    "rank_distance",
    "peer",
    "max_rank",
    "complete@10",
    "mrr@10",
    "f1@1",
)  # compared, where there are any
PERMUTATIONS, TEST_SEED = 10_000, 0
Systems = dict[str, list[Cell]]  # value of the axis in question to its cells, one a seed


@dataclass(frozen=True)
class Group:
    """Cells that differ in the axis in question and in their seeds only.

    Attributes:
        others: the values of the other axes, the same for all.
        systems: value of the axis in question to its cells that are done, in the order of the grid.
        baseline: the value that the others are compared with.
    """

    others: dict[str, str]
    systems: Systems
    baseline: str

    @property
    def name(self) -> str:
        """The other axes' values as a reader sees them; empty where there are none."""
        return ", ".join(f"{axis} {value}" for axis, value in self.others.items())


@dataclass(frozen=True)
class Mean:
    """A headline average over the seeds of a system.

    Attributes:
        values: of each seed.
        mean: their mean; NaN without any.
        low, high: Student's t interval of the mean at `significance.LEVEL`; NaN for fewer than two seeds.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """A comparison of the systems of a group on one task: what `compare` found."""

    group: Group
    task: str
    found: Mapping[str, Any]


@dataclass
class Findings:
    """What a study found.

    Attributes:
        sentence: the answer to its question.
        groups: the groups of its cells.
        comparisons: one for each group and task with two systems or more.
        laws: how a gain scales with size, and the points of each, where that is the question.
        more: further sentences, each with its figures.
    """

    sentence: str
    groups: list[Group]
    comparisons: list[Compared]
    laws: list[tuple[Scaling, list[Point]]] = field(default_factory=list)
    more: list[str] = field(default_factory=list)


def answer(
    grid: Grid, cells: Sequence[Cell], folder: StudyFolder, table: pa.Table, hours: Mapping[str, float] | None = None
) -> Findings:
    """What the cells that are done say of the grid's question.

    Args:
        table: results.parquet.
        hours: cell to its estimated GPU-hours, where they are known.
    """
    groups = groups_of(grid, cells)
    comparisons = compared(grid, groups, folder)
    if grid.answer.kind == "scaling":
        laws = gains(grid, cells, folder, table)
        text = " ".join(law.text for law, _ in laws)
        text = text or "Nothing can be said: there are not three sizes whose cells are done."
        choice = best_within(grid, cells, table, hours or {})
        more = [choice] if choice else []
        return Findings(f"{text[0].upper()}{text[1:]}", groups, comparisons, laws, more)
    if grid.answer.kind == "curve":
        said = sentence_of_curve(grid, comparisons)
        return Findings(said, groups, comparisons, more=trade(grid, groups, table))
    return Findings(sentence_of_comparison(grid, comparisons), groups, comparisons)


def groups_of(grid: Grid, cells: Sequence[Cell]) -> list[Group]:
    """The cells in groups, in the order of the grid; `cells` are those that are done."""
    axis, chosen = grid.answer.axis, grid.answer.baseline
    found: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for cell in cells:
        others = tuple(value for name, value in cell.values.items() if name not in (axis, SEED))
        found.setdefault(others, {}).setdefault(cell.values[axis], []).append(cell)
    groups = []
    for systems in found.values():
        first = next(iter(systems.values()))[0]
        others_of = {name: value for name, value in first.values.items() if name not in (axis, SEED)}
        groups.append(Group(others_of, systems, str(chosen) if str(chosen) in systems else next(iter(systems))))
    return groups


def mean_of(values: Sequence[float]) -> Mean:
    """The mean over seeds with its interval."""
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return Mean((), float("nan"), float("nan"), float("nan"))
    middle = float(np.mean(known))
    if len(known) < 2:
        return Mean(tuple(known), middle, float("nan"), float("nan"))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(known) - 1) * np.std(known, ddof=1) / np.sqrt(len(known)))
    return Mean(tuple(known), middle, middle - half, middle + half)


def system_mean(table: pa.Table, cells: Sequence[Cell], task: str, setting: Setting, measure: str) -> Mean:
    """The mean over the seeds of a system's headline averages, from results.parquet."""
    found = headlines(table)
    return mean_of([found.get((cell.id, task, setting, measure), float("nan")) for cell in cells])


def compared(grid: Grid, groups: Sequence[Group], folder: StudyFolder) -> list[Compared]:
    """Every group compared with its baseline on every task; a comparison is one family of tests."""
    found = []
    for group in groups:
        for task in (task for task in grid.tasks if not task.task.startswith(MTEB)):  # of those no query is known
            order = [group.baseline, *(name for name in group.systems if name != group.baseline)]
            named = {name: [folder.evaluation(cell, task) for cell in group.systems[name]] for name in order}
            if len(named) > 1:
                result = compare_folders(named, MEASURES, PERMUTATIONS, TEST_SEED)
                found.append(Compared(group, task.task, result))
    return found


def sentence_of_comparison(grid: Grid, comparisons: Sequence[Compared]) -> str:
    """The answer where systems are compared: which differ from the baseline, and which were not shown to."""
    answer, said = grid.answer, []
    for one in comparisons:
        values = _values(one, answer.setting, answer.measure)
        told = [_line(line, values, one.found["baseline"]) for line in _lines(grid, one)]
        said.append(f"{_where(grid, one)}{'; '.join(told)}.")
    if not said:
        return "Nothing can be said: there are not two systems whose cells are done."
    return f"At {answer.setting} retrieval, by {_called(answer.measure)}: {' '.join(said)}"


def sentence_of_curve(grid: Grid, comparisons: Sequence[Compared]) -> str:
    """The answer where a numeric axis is swept: where the curve is highest, and what is no worse than the baseline."""
    answer, said = grid.answer, []
    for one in comparisons:
        values = _values(one, answer.setting, answer.measure)
        base = str(one.found["baseline"])
        best = (min if answer.measure in LOWER_IS_BETTER else max)(values, key=lambda name: values[name])
        named: dict[str, list[str]] = {}
        for line in _lines(grid, one):
            named.setdefault(line["verdict"], []).append(str(line["system"]))
        told = f"{_where(grid, one)}{_called(answer.measure)} at {answer.setting} retrieval is best at {answer.axis}"
        told += f" {best} ({number(values[best], 3)})."
        if set(named) == {SAME}:
            told += f" No difference is shown between {base} ({number(values[base], 3)}) and any other value."
        else:
            against = [f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {verdict}"
                       for verdict, names in named.items() if verdict != SAME]  # fmt: skip
            told += f" Against {base} ({number(values[base], 3)}), {' and '.join(against)}"
            told += f"; of {', '.join(named[SAME])} no difference is shown." if SAME in named else "."
        said.append(told)
    return " ".join(said) or "Nothing can be said: there are not two values whose cells are done."


def trade(grid: Grid, groups: Sequence[Group], table: pa.Table) -> list[str]:
    """What each setting's mAP is at the ends of the axis and where it is best, one sentence a group and task."""
    said = []
    for group in groups:
        places = sorted(group.systems, key=float)
        for task in dict.fromkeys(task.task for task in grid.tasks):
            told = []
            for setting in SETTINGS:
                means = {name: system_mean(table, group.systems[name], task, setting, "map").mean for name in places}
                if np.isnan(list(means.values())).any():
                    continue
                best = max(means, key=lambda name: means[name])
                ends = f"from {means[places[0]]:.3f} at {places[0]} to {means[places[-1]]:.3f} at {places[-1]}"
                told.append(f"{setting} mAP goes {ends}, best {means[best]:.3f} at {best}")
            where = "; ".join(filter(None, (group.name, task if len(grid.tasks) > 1 else "")))
            said.append(f"Over {grid.answer.axis}{f' ({where})' if where else ''}: {'; '.join(told)}.")
    return said


def _lines(grid: Grid, one: Compared) -> list[Mapping[str, Any]]:
    """The lines of a comparison that the first sentence is about."""
    key = grid.answer.setting, grid.answer.measure
    return [line for line in one.found["comparisons"] if (line["setting"], line["measure"]) == key]


def _where(grid: Grid, one: Compared) -> str:
    """Which group and task a sentence is about, where there are several."""
    where = "; ".join(filter(None, (one.group.name, one.task if len(grid.tasks) > 1 else "")))
    return f"{where}: " if where else ""


def _called(measure: str) -> str:
    return "mAP" if measure == "map" else measure.replace("_", " ")


def _values(one: Compared, setting: str, measure: str) -> dict[str, float]:
    """The mean over seeds of each system."""
    return {
        system["name"]: figure["value"]
        for system in one.found["systems"]
        for figure in system["figures"]
        if (figure["setting"], figure["measure"]) == (setting, measure)
    }


def _line(line: Mapping[str, Any], values: Mapping[str, float], baseline: str) -> str:
    name = line["system"]
    figures = f"{number(values[name], 3)} and {number(values[baseline], 3)}"
    if line["verdict"] == SAME:
        return f"no difference between {name} and {baseline} is shown ({figures}, p = {line['p_holm']:.2g})"
    interval = f"{line['low']:+.3f} to {line['high']:+.3f}"
    return f"{name} is {line['verdict']} than {baseline} ({figures}; difference {interval}, p = {line['p_holm']:.2g})"
