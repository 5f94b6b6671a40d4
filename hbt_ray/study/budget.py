"""The best choice within a budget, among what was run and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from hbt_ray.config import UserError


class Costed(NamedTuple):
    """One run of a cell, or the mean of several: its name, what it cost [FLOPs or GPU-hours], and its score."""

    name: str
    cost: float
    score: float


@dataclass(frozen=True)
class Choice:
    """What to take within a budget.

    Attributes:
        best: the cell with the highest score that the budget pays for.
        frontier: the cells within the budget that score higher than every cheaper one, by cost; the last is `best`.
        next: the cheapest cell above the budget that scores higher; None when there is none.
        text: all of this in a sentence.
    """

    best: Costed
    frontier: tuple[Costed, ...]
    next: Costed | None
    text: str


def compute_optimal(points: Sequence[Costed], budget: float, unit: str = "GPU-hours") -> Choice:
    """The best cell that costs at most `budget`.

    Runs of one name are seeds of one cell: their mean score counts, and the mean cost of one of them. Of cells with the
    same score the cheapest is taken. Costs that nothing was run at are not guessed about.

    Args:
        unit: of costs and budget, for the sentence.

    Raises:
        UserError: there are no cells, or the budget pays for none of them.
    """
    if not points:
        raise UserError("no cell has a cost and a score")
    cells = _means(points)
    frontier = _frontier(cells)
    within = tuple(cell for cell in frontier if cell.cost <= budget)
    if not within:
        raise UserError(
            f"no cell fits a budget of {budget:,.6g} {unit}: the cheapest, {frontier[0].name}, costs"
            f" {frontier[0].cost:,.6g}"
        )
    best = within[-1]
    beyond = next((cell for cell in frontier if cell.cost > budget), None)
    fitting = sum(cell.cost <= budget for cell in cells)
    more = (
        f"The cheapest that scores higher, {beyond.name} ({beyond.score:.4f}), costs {beyond.cost:,.6g}."
        if beyond
        else "No cell that was run scores higher."
    )
    text = (
        f"With {budget:,.6g} {unit}, {best.name} is the best of {fitting} cells that fit, of {len(cells)}: score"
        f" {best.score:.4f} for {best.cost:,.6g} {unit}. {more} Nothing is said of what was not run."
    )
    return Choice(best, within, beyond, text)


def _means(points: Sequence[Costed]) -> list[Costed]:
    cells = []
    for name, runs in groupby(sorted(points, key=attrgetter("name")), key=attrgetter("name")):
        _, costs, scores = zip(*runs, strict=True)
        cells.append(Costed(name, sum(costs) / len(costs), sum(scores) / len(scores)))
    return cells


def _frontier(cells: Sequence[Costed]) -> list[Costed]:
    """The cells that score higher than every cheaper one, by cost."""
    frontier: list[Costed] = []
    for cell in sorted(cells, key=lambda cell: (cell.cost, -cell.score, cell.name)):
        if not frontier or cell.score > frontier[-1].score:
            frontier.append(cell)
    return frontier
