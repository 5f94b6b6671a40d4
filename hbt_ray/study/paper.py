"""What arXiv 2408.10536 claims of hybrid batches, held against the figures of three runs of one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hbt_ray.config import Setting
from hbt_ray.study.runs import Run

AS_GOOD = 0.9
"""Share of a specialist's mAP from which hybrid counts as about as good as it is."""
FAR_LESS = 1 / 3
"""Share of x-x's rank distance below which the language bias counts as far less."""


@dataclass(frozen=True)
class Claim:
    """One claim: what the figures say of it, in a sentence, and whether they show it."""

    text: str
    shown: bool

    def __str__(self) -> str:
        """The sentence after its verdict."""
        return f"{'Shown' if self.shown else 'NOT shown'}: {self.text}"


def paper_claims(runs: Sequence[Run], comparison: Mapping[str, Any]) -> list[Claim]:
    """The claims of the paper on one task; a figure that there is not (NaN) shows nothing.

    Args:
        runs: among them those called x-x, x-y and hybrid.
        comparison: what `compare` found of them, x-x its baseline.

    Raises:
        KeyError: one of the three runs is missing, or the comparison has no mAP of hybrid in one of the settings.
    """
    by_name = {run.name: run for run in runs}
    monolingual, cross, hybrid = (by_name[name] for name in ("x-x", "x-y", "hybrid"))
    return [
        _as_good(hybrid, monolingual, "monolingual"),
        _as_good(hybrid, cross, "cross-lingual"),
        _best(hybrid, (monolingual, cross)),
        _less_bias(hybrid, monolingual),
        *(_significant(comparison, setting) for setting in ("cross-lingual", "multilingual")),
    ]


def _as_good(hybrid: Run, specialist: Run, setting: Setting) -> Claim:
    """A specialist is trained on batches of this setting alone."""
    ours, theirs = hybrid.map(setting), specialist.map(setting)
    return Claim(
        f"at {setting} retrieval, hybrid is about as good as {specialist.name}, which trains for it alone, or better"
        f" (mAP {ours:.3f} and {theirs:.3f}: {_percent(ours, theirs)}, and {AS_GOOD:.0%} or more counts).",
        ours >= AS_GOOD * theirs,
    )


def _best(hybrid: Run, others: Sequence[Run]) -> Claim:
    ours = hybrid.map("multilingual")
    theirs = {run.name: run.map("multilingual") for run in others}
    told = " and ".join(f"{value:.3f} of {name}" for name, value in theirs.items())
    return Claim(
        f"in one pool of all languages, hybrid is the best of the three (mAP {ours:.3f}, against {told}).",
        all(ours > value for value in theirs.values()),
    )


def _less_bias(hybrid: Run, monolingual: Run) -> Claim:
    ours, theirs = hybrid.rank_distance(), monolingual.rank_distance()
    return Claim(
        f"hybrid favours languages far less than x-x (rank distance {ours:,.0f} and {theirs:,.0f}:"
        f" {_percent(ours, theirs)}, and less than a third counts).",
        ours < FAR_LESS * theirs,
    )


def _significant(comparison: Mapping[str, Any], setting: Setting) -> Claim:
    lines = {(line["system"], line["setting"], line["measure"]): line for line in comparison["comparisons"]}
    line = lines["hybrid", setting, "map"]
    return Claim(
        f"at {setting} retrieval, hybrid is better than x-x by more than chance (mAP {line['difference']:+.3f},"
        f" p = {line['p_holm']:.2g} over {comparison['items']:,} facts after Holm's correction).",
        comparison["baseline"] == "x-x" and line["verdict"] == "better",
    )


def _percent(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.0%}" if theirs else "of nothing"
