"""How far a study is, in one view: cells done, running and failed, and the time and cost that are left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune import Callback

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
        self._running: set[str] = set()
        self._done: set[str] = set()
        self._failed: set[str] = set()
        self._began = time.monotonic()
        self._progress = Progress("study", "cells", len(cells))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A cell begins, perhaps again."""
        self._running.add(_cell(trial))
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A cell has ended, or failed by a mistake of the user's."""
        failed = (trial.last_result or {}).get("failed")
        self._end(trial, self._failed if failed else self._done)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A cell has failed for the last time."""
        self._end(trial, self._failed)

    def _end(self, trial: Any, where: set[str]) -> None:
        self._running.discard(_cell(trial))
        where.add(_cell(trial))
        self._show()

    def _show(self) -> None:
        settled = self._done | self._failed
        about = f"{len(self._running)} running"
        if self._failed:
            about += f", {len(self._failed)} failed"
        if settled:
            past = sum(self._hours[cell] for cell in settled)
            left = sum(self._hours.values()) - past
            minutes = (time.monotonic() - self._began) * left / past / 60
            about += f", about {minutes:,.0f} min left"
            price = sum(cost.price for cell, cost in self._costs.items() if cell not in settled)
            if price >= CENT:
                about += f", {price:,.2f} {next(iter(self._costs.values())).assumed.currency}"
        self._progress.update(len(settled), about)

    def __enter__(self) -> StudyProgress:
        self._progress.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._progress.__exit__(kind, error, trace)


def _cell(trial: Any) -> str:
    return str(trial.config["cell"])
