"""How far a study is, in one view: cells done, running and failed, and the time and cost that are left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray.tune import Callback
from scipy.optimize import nnls

from hbt_ray.study.estimate import Cost
from hbt_ray.study.grid.cells import Cell
from hbt_ray.terminal import Progress

CENT = 0.01  # a price below it is none


class StudyProgress(Callback):
    """What Ray Tune tells of its trials, as a bar on a terminal and a line now and then elsewhere."""

    def __init__(self, cells: Sequence[Cell], costs: Mapping[str, Cost]) -> None:
        """Begin to show the progress.

        Args:
            cells: the cells that are run.
            costs: cell to its estimated cost, where it is known: how much of the work it is.
        """
        self._costs = {cell.id: costs[cell.id] for cell in cells if cell.id in costs}
        self._hours = {cell.id: costs[cell.id].hours if cell.id in costs else 1.0 for cell in cells}
        self._running: dict[str, float] = {}  # since when
        self._seconds: dict[str, float] = {}  # that those which are settled took
        self._failed: set[str] = set()
        self._began = time.monotonic()
        self._progress = Progress("study", "cells", len(cells))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A cell begins, perhaps again."""
        self._running[_cell(trial)] = time.monotonic()
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A cell has ended, or failed by a mistake of the user's."""
        self._end(trial, bool((trial.last_result or {}).get("failed")))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A cell has failed for the last time."""
        self._end(trial, True)

    def _end(self, trial: Any, failed: bool) -> None:
        now, cell = time.monotonic(), _cell(trial)
        self._seconds[cell] = now - self._running.pop(cell, now)
        if failed:
            self._failed.add(cell)
        self._show()

    def _show(self) -> None:
        about = f"{len(self._running)} running"
        if self._failed:
            about += f", {len(self._failed)} failed"
        done = [(self._hours[cell], took) for cell, took in self._seconds.items() if cell not in self._failed]
        settled = self._seconds.keys()
        if done:
            now = time.monotonic()
            running = {cell: now - since for cell, since in self._running.items()}
            left = expected([self._hours[cell] for cell in self._hours if cell not in settled], done)
            at_once = (sum(self._seconds.values()) + sum(running.values())) / max(now - self._began, 1)
            seconds = max(left - sum(running.values()), 0) / max(at_once, 1)
            about += f", about {seconds / 60:,.0f} min left"
            price = sum(cost.price for cell, cost in self._costs.items() if cell not in settled)
            if price >= CENT:
                about += f", {price:,.2f} {next(iter(self._costs.values())).assumed.currency}"
        self._progress.update(len(settled), about)

    def __enter__(self) -> StudyProgress:
        self._progress.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._progress.__exit__(kind, error, trace)


def expected(hours: Sequence[float], done: Sequence[tuple[float, float]]) -> float:
    """The time [s] that cells of these estimated `hours` take together, from hours and time [s] of those that are done.

    A cell takes some time whatever its model, and some in proportion to its cost: the best such line, neither part
    negative.
    """
    largest = max(*hours, *(cost for cost, _ in done), 1e-9) if hours else 1.0
    known = np.array([[1.0, cost / largest] for cost, _ in done])
    (fixed, slope), _ = nnls(known, np.array([took for _, took in done]))
    return float(sum(fixed + slope * cost / largest for cost in hours))


def _cell(trial: Any) -> str:
    return str(trial.config["cell"])
