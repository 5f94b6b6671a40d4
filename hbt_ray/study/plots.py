"""The plots of the report, each drawn from the runs alone, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hbt_ray.study.figure import forms
from hbt_ray.study.runs import SETTINGS, Floats, Run
from hbt_ray.terminal import number

# Okabe and Ito's palette, told apart with any form of colour blindness. A run has one colour in every plot.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#000000")
MARKERS = "osD^vPX*"
_POINTS = 1500  # of a curve: more are not seen
_NUMBERED = 14  # languages up to which the cells of a heat map bear numbers


@dataclass(frozen=True)
class Plot:
    """A drawn figure: file name without ending, what it shows in words, and its two forms."""

    name: str
    alt: str
    svg: bytes
    png: bytes


def of_task(runs: Sequence[Run]) -> list[Plot]:
    """The plots that the runs of one task have data for: `settings`, `rank_distance`, `shares`, `pairs`."""
    plots = [_plot("settings", "Bars: mAP of each model in the settings", _settings, runs)]
    if not all(np.isnan(run.rank_distance()) for run in runs):
        plots.append(_plot("rank_distance", "Bars: rank distance of each model", _rank_distance, runs))
    if any(run.shares("top") for run in runs):
        alt = "Shares of languages in the first ten documents for each model, and among the relevant documents"
        plots.append(_plot("shares", alt, _shares, runs))
    if any(run.pairs() for run in runs):
        plots.append(_plot("pairs", "Heat maps: mAP by query language and passage language", _pairs, runs))
    return plots


def of_training(runs: Sequence[Run]) -> list[Plot]:
    """The plots `loss` and `mix` of the runs that have steps; none when none has."""
    if not any(run.steps for run in runs):
        return []
    return [
        _plot("loss", "Curves: training loss by step for each run", _loss, runs),
        _plot("mix", "Share of monolingual batches and of rows by query language", _mix, runs),
    ]


def _plot(name: str, alt: str, fill: Callable[[Figure, Sequence[Run]], None], runs: Sequence[Run]) -> Plot:
    return Plot(name, alt, **forms(lambda figure: fill(figure, runs)))


def _colour(position: int) -> str:
    return COLOURS[position % len(COLOURS)]


def _settings(figure: Figure, runs: Sequence[Run]) -> None:
    figure.set_size_inches(9, 3.8)
    axes = figure.subplots()
    width = 0.8 / len(runs)
    settings = [setting for setting in SETTINGS if any(run.has(setting) for run in runs)]
    for i, run in enumerate(runs):
        places = np.arange(len(settings)) + (i - (len(runs) - 1) / 2) * width
        values = [run.map(setting) for setting in settings]
        bars = axes.bar(places, values, 0.92 * width, color=_colour(i), label=run.name)
        if len(runs) <= 6:
            axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=9)
    axes.set_xticks(np.arange(len(settings)), settings)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1)
    axes.set_ylabel("mAP (1 is perfect)")
    axes.grid(axis="y")
    _legend(figure, axes)


def _rank_distance(figure: Figure, runs: Sequence[Run]) -> None:
    figure.set_size_inches(9, 0.9 + 0.42 * len(runs))
    axes = figure.subplots()
    bars = axes.barh([run.name for run in runs], [run.rank_distance() for run in runs], 0.7)
    for i, bar in enumerate(bars):
        bar.set_color(_colour(i))
    axes.bar_label(bars, labels=[number(run.rank_distance(), 1) for run in runs], padding=4)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("rank distance in ranks (shorter bar: languages ranked more alike)")
    axes.grid(axis="x")


def _loss(figure: Figure, runs: Sequence[Run]) -> None:
    figure.set_size_inches(9, 3.6)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    kinds: tuple[Any, ...] = ("monolingual", "cross-lingual")
    for axes, kind in zip(panels, kinds, strict=True):
        for i, run in enumerate(runs):
            if run.steps:  # an empty curve keeps the legend in the order of the runs
                axes.plot(*_smooth(*run.loss(kind)), color=_colour(i), label=run.name, linewidth=1.8)
        axes.set_title(f"{kind} batches")
        axes.set_xlabel("step")
        axes.grid()
        if not any(len(run.loss(kind)[0]) for run in runs):
            axes.text(0.5, 0.5, "no such batches", transform=axes.transAxes, ha="center", color="#666666")
    panels[0].set_ylabel("loss, smoothed")
    _legend(figure, *panels)


def _smooth(steps: Floats, losses: Floats) -> tuple[Floats, Floats]:
    """Trailing mean over a fortieth of the batches, thinned to what can be seen."""
    if not len(losses):
        return steps, losses
    window = max(1, len(losses) // 40)
    mean = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    stride = max(1, len(mean) // _POINTS)
    return steps[window - 1 :][::stride], mean[::stride]


def _mix(figure: Figure, runs: Sequence[Run]) -> None:
    trained = [(i, run) for i, run in enumerate(runs) if run.steps]
    figure.set_size_inches(9, 3.2 + 0.1 * len(trained))
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.2))

    names = [run.name for _, run in trained]
    shares = np.array([run.monolingual_share() for _, run in trained])
    left.barh(names, shares, 0.6, color=[_colour(i) for i, _ in trained])
    left.barh(names, 1 - shares, 0.6, left=shares, color="#eeeeee", edgecolor="#aaaaaa", linewidth=0.5)
    for row, share in enumerate(shares):
        left.text(1.04, row, f"{share:.0%}", va="center")
    left.set_xlim(0, 1)
    left.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    left.invert_yaxis()
    left.tick_params(axis="y", length=0)
    left.set_title("monolingual batches")
    left.set_xlabel("share of all batches (grey: cross-lingual)")

    rows = {i: run.rows_by_query_language() for i, run in trained}
    languages = sorted(set().union(*rows.values()))
    for order, (i, run) in enumerate(trained):
        places = np.arange(len(languages)) + (order - (len(trained) - 1) / 2) * 0.6 / len(trained)
        share = np.array([rows[i].get(lang, 0) for lang in languages]) / sum(rows[i].values())
        right.plot(places, 100 * share, MARKERS[i % len(MARKERS)], color=_colour(i), markersize=5, label=run.name)
    right.axhline(100 / len(languages), color="#666666", linestyle="--", linewidth=1, label="equal shares")
    right.set_xticks(range(len(languages)), languages)
    right.set_ylim(0, 1.1 * right.dataLim.y1)
    right.set_ylabel("% of rows")
    right.set_title("rows by query language")
    right.grid(axis="y")
    _legend(figure, right)


def _shares(figure: Figure, runs: Sequence[Run]) -> None:
    relevant = next(run.shares("relevant") for run in runs if run.shares("relevant"))
    languages = sorted(relevant)
    figure.set_size_inches(9, 3.4)
    axes = figure.subplots()
    for place, language in enumerate(languages):
        axes.hlines(100 * relevant[language], place - 0.4, place + 0.4, color="#000000", linewidth=2,
                    label="of the relevant documents")  # fmt: skip
    for i, run in enumerate(runs):
        places = np.arange(len(languages)) + (i - (len(runs) - 1) / 2) * 0.7 / len(runs)
        values = [100 * run.shares("top").get(language, np.nan) for language in languages]
        axes.plot(places, values, MARKERS[i % len(MARKERS)], color=_colour(i), markersize=6, label=run.name)
    axes.set_xticks(range(len(languages)), languages)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("% of the first ten documents")
    axes.grid(axis="y")
    _legend(figure, axes)


def _pairs(figure: Figure, runs: Sequence[Run]) -> None:
    queries, passages = (sorted({pair[side] for run in runs for pair in run.pairs()}) for side in (0, 1))
    columns = min(2, len(runs))
    lines = -(-len(runs) // columns)
    figure.set_size_inches(5.4 * columns + 0.6, (1.6 + 3.6 * min(1.5, len(queries) / len(passages))) * lines)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for run, axes in zip(runs, panels, strict=False):  # in this order no panel is taken that no run fills
        pairs = run.pairs()
        values = np.array([[pairs.get((query, passage), np.nan) for passage in passages] for query in queries])
        image = axes.imshow(100 * values, vmin=0, vmax=100, cmap="cividis")
        axes.set_xticks(range(len(passages)), passages)
        axes.set_yticks(range(len(queries)), queries)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(run.name)
        axes.set_xlabel("passage language")
        axes.set_ylabel("query language")
        if max(len(queries), len(passages)) <= _NUMBERED:
            for (row, column), value in np.ndenumerate(values):
                if not np.isnan(value):
                    axes.text(
                        column,
                        row,
                        f"{100 * value:.0f}",
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if value < 0.55 else "black",
                    )
    for axes in panels:
        axes.set_axis_off()
    figure.colorbar(image, ax=figure.axes, label="mAP × 100", shrink=0.6, aspect=30)


def _legend(figure: Figure, *panels: Any) -> None:
    """One legend above all panels, each name once."""
    found = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=min(6, len(found)))
