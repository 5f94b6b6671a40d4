"""The plots of a study's report, drawn from its table of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from hbt_ray.config import Grid
from hbt_ray.study.directions import LOWER_IS_BETTER
from hbt_ray.study.figure import forms
from hbt_ray.study.grid.answer import Group, Mean, system_mean
from hbt_ray.study.grid.results import headlines
from hbt_ray.study.plots import COLOURS, MARKERS, Plot
from hbt_ray.study.runs import SETTINGS
from hbt_ray.study.scaling import Point, Scaling

NUMBERED = 12  # languages up to which the cells of a heat map bear numbers


def curve(grid: Grid, group: Group, table: pa.Table, task: str) -> Plot:
    """The mAP of each setting over the axis in question, and rank distance beside it, with bands over seeds."""
    axis = grid.answer.axis
    places = sorted((float(name), name) for name in group.systems)
    xs = [place for place, _ in places]

    def draw(figure: Figure) -> None:
        figure.set_size_inches(9.5, 3.9)
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        for number, setting in enumerate(SETTINGS):
            means = [system_mean(table, group.systems[name], task, setting, "map") for _, name in places]
            if not all(np.isnan(mean.mean) for mean in means):
                _band(left, xs, means, number, setting)
        distances = [
            system_mean(table, group.systems[name], task, "multilingual", "rank_distance") for _, name in places
        ]
        _band(right, xs, distances, 3, "rank distance")
        left.set_ylabel("mAP (1 is perfect)")
        left.set_ylim(0, 1)
        right.set_ylabel("rank distance [ranks]")
        right.set_ylim(bottom=0)
        right.set_title("language bias: lower is better")
        left.set_title("retrieval: higher is better")
        for axes in (left, right):
            axes.set_xlabel(axis)
            axes.grid()
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)

    alt = f"Curves: mAP of each setting and rank distance over {axis}, bands over seeds"
    return _plot("curve", task, group, alt, draw)


def heat(axis: str, group: Group, table: pa.Table, task: str) -> Plot | None:
    """The mAP by language of the query, one row a system, a panel each for the settings; None for one language."""
    own = table.filter(pc.is_valid(table["query_language"]))
    rows = [row for row in own.to_pylist() if row["measure"] == "map" and row["task"] == task]
    by_key: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        by_key.setdefault((row["cell"], row["setting"], row["query_language"]), []).append(row["value"])
    languages = sorted({language for _, _, language in by_key})
    settings = [setting for setting in SETTINGS if any(key[1] == setting for key in by_key)]
    if len(languages) < 2:
        return None
    names = list(group.systems)

    def draw(figure: Figure) -> None:
        figure.set_size_inches(9.5, 1.0 + 0.34 * len(names) * len(settings) + 0.5 * len(settings))
        panels = figure.subplots(len(settings), 1, squeeze=False)[:, 0]
        for axes, setting in zip(panels, settings, strict=True):
            values = np.array([
                [_mean([by_key[cell.id, setting, language] for cell in group.systems[name]
                        if (cell.id, setting, language) in by_key]) for language in languages]
                for name in names
            ])  # fmt: skip
            image = axes.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
            axes.set_yticks(range(len(names)), names)
            axes.set_ylabel(axis)
            axes.set_xticks(range(len(languages)), languages)
            axes.set_title(f"{setting} mAP × 100")
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            if len(languages) <= NUMBERED:
                for (row, column), value in np.ndenumerate(values):
                    if not np.isnan(value):
                        colour = "white" if value < 0.55 else "black"
                        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
        panels[-1].set_xlabel("language of the query")
        figure.colorbar(image, ax=list(panels), label="mAP", shrink=0.6, aspect=30)

    return _plot("languages", task, group, "Heat maps: mAP by language of the query", draw)


def front(grid: Grid, groups: Sequence[Group], table: pa.Table, task: str, bias: str, unit: str) -> Plot | None:
    """Quality against language bias, a point a cell; the front are the points that none beats in both."""
    found = headlines(table)
    points: list[tuple[float, float, int]] = []
    labels: list[str] = []
    lower = bias in LOWER_IS_BETTER
    for group in groups:
        for name, cells in group.systems.items():
            labels.append(", ".join(filter(None, (name, group.name))))
            for cell in cells:
                quality = found.get((cell.id, task, "multilingual", "map"), np.nan)
                distance = found.get((cell.id, task, "multilingual", bias), np.nan)
                if not np.isnan(quality) and not np.isnan(distance):
                    points.append((distance, quality, len(labels) - 1))
    if len(points) < 2:
        return None
    best = [point for point in points if not any(_beats(other, point, lower) for other in points)]

    def draw(figure: Figure) -> None:
        figure.set_size_inches(9.5, 4.2)
        axes = figure.subplots()
        numeric = grid.answer.kind == "curve"
        if numeric:
            values = [float(labels[place].partition(",")[0]) for _, _, place in points]
            marks = axes.scatter(
                [p[0] for p in points], [p[1] for p in points], c=values, cmap="cividis", s=36, zorder=3
            )
            figure.colorbar(marks, ax=axes, label=grid.answer.axis)
        else:
            for place, label in enumerate(labels):
                own = [point for point in points if point[2] == place]
                axes.plot([p[0] for p in own], [p[1] for p in own], MARKERS[place % len(MARKERS)], label=label,
                          color=COLOURS[place % len(COLOURS)], markersize=7, zorder=3)  # fmt: skip
            figure.legend(loc="outside right upper", fontsize=9)
        ordered = sorted(best)
        axes.plot([p[0] for p in ordered], [p[1] for p in ordered], color="#666666", linewidth=1, label="front")
        axes.set_xlabel(f"{bias.replace('_', ' ')} [{unit}], {'lower' if lower else 'higher'} is less bias")
        axes.set_ylabel("multilingual mAP")
        axes.grid()

    alt = f"Points: multilingual mAP against {bias} of every cell, with the front"
    return _plot(f"front-{bias}", task, None, alt, draw)


def law(scaling: Scaling, points: Sequence[Point], number: int) -> Plot:
    """The points of a gain over sizes, and the law that is preferred."""

    def draw(figure: Figure) -> None:
        figure.set_size_inches(9.5, 3.6)
        axes = figure.subplots()
        axes.plot([point.size for point in points], [point.value for point in points], "o", color=COLOURS[0],
                  label="a pair of runs")  # fmt: skip
        sizes = np.geomspace(scaling.smallest, scaling.largest, 60)
        label = "power law" if scaling.shown else "no change (no scaling shown)"
        axes.plot(sizes, [scaling.at(float(size)) for size in sizes], color=COLOURS[5], label=label)
        axes.axhline(0, color="#000000", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel("size of the model [parameters]")
        axes.set_ylabel("gain in mAP")
        axes.grid()
        axes.legend()

    return Plot(f"scaling-{number}", "Points: gain over size of the model, with the fitted law", **forms(draw))


def beside(task: str, what: str, points: Sequence[tuple[str, bool, float]]) -> Plot:
    """Scores on one line each: ours filled, theirs hollow; (name, whether it is ours, value) of each."""
    known = [point for point in points if not np.isnan(point[2])]

    def draw(figure: Figure) -> None:
        figure.set_size_inches(9.5, 1.0 + 0.27 * len(known))
        axes = figure.subplots()
        for ours, face, text in ((True, COLOURS[0], "ours"), (False, "white", "theirs, published")):
            places = [place for place, point in enumerate(known) if point[1] == ours]
            values = [known[place][2] for place in places]
            axes.plot(values, places, "o" if ours else "D", color=COLOURS[0], markerfacecolor=face, label=text)
        axes.set_yticks(range(len(known)), [name for name, _, _ in known])
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set_xlabel(f"{task}: {what}")
        axes.grid(axis="x")
        figure.legend(loc="outside upper center", ncols=2)

    return Plot(f"published-{_letters(task)}", f"Points: {what} of {task}, ours and theirs", **forms(draw))


def _band(axes: Any, xs: Sequence[float], means: Sequence[Mean], number: int, label: str) -> None:
    colour = COLOURS[number]
    axes.plot(xs, [mean.mean for mean in means], MARKERS[number], linestyle="-", color=colour, label=label)
    low, high = ([getattr(mean, end) for mean in means] for end in ("low", "high"))
    axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)


def _beats(other: tuple[float, float, int], point: tuple[float, float, int], lower: bool) -> bool:
    """Whether the other (bias, quality) is at least as good in both, and not the same."""
    less = other[0] <= point[0] if lower else other[0] >= point[0]
    return less and other[1] >= point[1] and other[:2] != point[:2]


def _mean(found: Sequence[Sequence[float]]) -> float:
    values = [value for inner in found for value in inner]
    return float(np.mean(values)) if values else float("nan")


def _plot(kind: str, task: str, group: Group | None, alt: str, draw: Callable[[Figure], None]) -> Plot:
    """A plot whose file says of which task and group it is."""
    of = "-".join(map(_letters, filter(None, (task, group.name if group else ""))))
    return Plot(f"{kind}-{of}", alt, **forms(draw))


def _letters(text: str) -> str:
    """The text as part of a file's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in text)
