"""What a report knows of one run on one task, and the numbers it reads off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hbt_ray.config import Setting

SETTINGS: tuple[Setting, ...] = ("monolingual", "cross-lingual", "multilingual")
Line = tuple[str, str]  # a setting and a measure, as comparisons name them
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A model on a task.

    Attributes:
        results: what evaluate writes.
        steps: lines of metrics.jsonl, if it was trained.
        shown_best: settings and measures in which a comparison shows it to be better than every other run of the task
            (`shown_best.py`); None where none was made.
    """

    name: str
    results: dict[str, Any]
    steps: Sequence[dict[str, Any]] = ()
    shown_best: frozenset[Line] | None = None

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.results["task"])

    def has(self, setting: Setting) -> bool:
        """Whether the task was evaluated in the setting."""
        return setting in self.results["settings"]

    def map(self, setting: Setting) -> float:
        """The mean average precision, 0 to 1; NaN where the task has no query for the setting, or not the setting."""
        return self._value(setting, "map")

    def measure(self, setting: Setting, name: str) -> float:
        """The macro average of one of the task's own measures, NaN as for `map`."""
        return _number(self.results["settings"].get(setting, {}).get("measures", {}).get(name))

    def rank_distance(self) -> float:
        """The language bias [ranks]; NaN without the multilingual setting."""
        return self._value("multilingual", "rank_distance")

    def _value(self, setting: Setting, key: str) -> float:
        return _number(self.results["settings"].get(setting, {}).get(key))

    def by_language(self, setting: Setting, measure: str = "by_language") -> dict[str, float]:
        """The value of a measure in each query language, NaN where there is none."""
        found = self.results["settings"].get(setting, {}).get(measure, {})
        return {key: _number(value) for key, value in found.items()}

    def languages(self) -> list[str]:
        """The languages of the queries."""
        return sorted(set().union(*(self.by_language(setting) for setting in SETTINGS)))

    def shares(self, kind: Literal["top", "relevant"]) -> dict[str, float]:
        """Each language's share of the first ten, or of the relevant documents, of multilingual lists, 0 to 1."""
        found = self.results["settings"].get("multilingual", {}).get("language_share", {})
        return dict(found.get(kind, {}))

    def by_script(self) -> dict[str, float]:
        """The values `same` and `different`: cross-lingual mAP of pairs of languages in one script, or in two."""
        found = self.results["settings"].get("cross-lingual", {}).get("by_script", {})
        return {key: _number(found.get(key)) for key in ("same", "different")}

    def pairs(self) -> dict[tuple[str, str], float]:
        """The mAP by query and passage language, the monolingual ones among them."""
        found = {(key, key): value for key, value in self.by_language("monolingual").items()}
        longest_first = sorted(self.languages(), key=len, reverse=True)  # zh-Hant-de is of zh-Hant
        for pair, value in self.by_language("cross-lingual", "by_pair").items():
            query = next((key for key in longest_first if pair.startswith(f"{key}-")), pair.partition("-")[0])
            found[query, pair.removeprefix(f"{query}-")] = value
        return found

    def loss(self, kind: Literal["monolingual", "cross-lingual"]) -> tuple[Floats, Floats]:
        """The steps and losses of the batches of one kind, float64 [batches] each."""
        lines = [line for line in self.steps if line["kind"] == kind]
        return np.array([line["step"] for line in lines], float), np.array([line["loss"] for line in lines], float)

    def monolingual_share(self) -> float:
        """The share of monolingual batches, 0 to 1; NaN for a run without steps."""
        return float(np.mean([line["kind"] == "monolingual" for line in self.steps])) if self.steps else float("nan")

    def rows_by_query_language(self) -> dict[str, int]:
        """The number of rows trained on, over all steps, in each query language."""
        rows: Counter[str] = Counter()
        for line in self.steps:
            rows.update(line["query_languages"])
        return dict(rows)


@dataclass(frozen=True)
class Column:
    """A column of the headline table."""

    title: str
    value: Callable[[Run], float]
    decimals: int
    largest_is_best: bool
    line: Line


MAPS = (
    Column("monolingual mAP", lambda run: run.map("monolingual"), 3, True, ("monolingual", "map")),
    Column("cross-lingual mAP", lambda run: run.map("cross-lingual"), 3, True, ("cross-lingual", "map")),
    Column("multilingual mAP", lambda run: run.map("multilingual"), 3, True, ("multilingual", "map")),
)
RANK_DISTANCE = Column("rank distance", lambda run: run.rank_distance(), 1, False, ("multilingual", "rank_distance"))
HEADLINE = (*MAPS, RANK_DISTANCE)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def best_of(shown: Sequence[str], values: Sequence[float], largest: bool) -> list[bool]:
    """Which entry is the best as a reader sees them: none that stands alone, nor of several that are shown alike.

    Args:
        shown: each value as it is shown.
        values: NaN where there is none.
    """
    if np.count_nonzero(~np.isnan(values)) < 2:
        return [False] * len(shown)
    best = shown[int(np.nanargmax(values) if largest else np.nanargmin(values))]
    return [text == best and shown.count(best) == 1 for text in shown]


def stars(
    runs: Sequence[Run | None], shown: Sequence[str], values: Sequence[float], largest: bool, line: Line | None
) -> list[bool]:
    """Which run is marked as the best: `best_of`, if tests show it where there are any.

    Args:
        runs: the runs of the entries; None where a model has none.
        line: what the values are of; None for what is not tested, which marks none where other things are tested.
    """
    best = best_of(list(shown), values, largest)
    if all(run is None or run.shown_best is None for run in runs):
        return best
    pairs = zip(runs, best, strict=True)
    return [star and run is not None and line in (run.shown_best or ()) for run, star in pairs]
