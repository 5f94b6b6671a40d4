"""What a report knows of one run, and the numbers it reads off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Setting = Literal["monolingual", "cross-lingual", "multilingual"]
SETTINGS: tuple[Setting, ...] = ("monolingual", "cross-lingual", "multilingual")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One trained (or untrained) model: `results` as evaluate writes them, `steps` the lines of metrics.jsonl."""

    name: str
    results: dict[str, Any]
    steps: Sequence[dict[str, Any]] = ()

    def map(self, setting: Setting) -> float:
        """Mean average precision, 0 to 1; NaN where the task has no query for the setting."""
        return _number(self.results["settings"][setting]["map"])

    def rank_distance(self) -> float:
        """Language bias in ranks."""
        return _number(self.results["settings"]["multilingual"]["rank_distance"])

    def by_language(self, setting: Setting, measure: str = "by_language") -> dict[str, float]:
        """Query language to value, NaN where there is none."""
        return {key: _number(value) for key, value in self.results["settings"][setting][measure].items()}

    def languages(self) -> list[str]:
        return sorted(self.by_language("monolingual"))

    def pairs_matrix(self) -> Floats:
        """mAP, query language x passage language; the monolingual values on the diagonal, NaN where there is none."""
        languages = self.languages()
        diagonal = self.by_language("monolingual")
        pairs = self.by_language("cross-lingual", "by_pair")
        return np.array(
            [[diagonal[q] if q == p else pairs.get(f"{q}-{p}", np.nan) for p in languages] for q in languages]
        )

    def loss(self, kind: Literal["monolingual", "cross-lingual"]) -> tuple[Floats, Floats]:
        """Steps and losses of the batches of one kind, both shaped (batches,)."""
        lines = [line for line in self.steps if line["kind"] == kind]
        return np.array([line["step"] for line in lines], float), np.array([line["loss"] for line in lines], float)

    def monolingual_share(self) -> float:
        """Share of monolingual batches, 0 to 1; NaN for a run without steps."""
        return float(np.mean([line["kind"] == "monolingual" for line in self.steps])) if self.steps else float("nan")

    def rows_by_query_language(self) -> dict[str, int]:
        """Query language to rows trained on, over all steps."""
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


HEADLINE = (
    Column("monolingual mAP", lambda run: run.map("monolingual"), 3, True),
    Column("cross-lingual mAP", lambda run: run.map("cross-lingual"), 3, True),
    Column("multilingual mAP", lambda run: run.map("multilingual"), 3, True),
    Column("rank distance", lambda run: run.rank_distance(), 1, False),
)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def show(value: float, decimals: int) -> str:
    return "–" if np.isnan(value) else f"{value:,.{decimals}f}"


def best(shown: Sequence[str], values: Sequence[float], largest: bool) -> list[bool]:
    """Which entries are the best as a reader sees them: all that are shown like the best one; none of NaN alone."""
    if np.isnan(values).all():
        return [False] * len(shown)
    position = int(np.nanargmax(values) if largest else np.nanargmin(values))
    return [text == shown[position] for text in shown]
