"""Where a comparison shows one system to be better than every other one: what a report may mark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hbt_ray.study import directions
from hbt_ray.study.runs import Line, Run


def with_tests(runs: Sequence[Run], comparisons: Mapping[str, Mapping[str, Any]]) -> list[Run]:
    """The runs, each with what the comparison of its task shows it to be best in.

    Args:
        comparisons: task to what `compare` found of its runs.
    """
    found = {task: shown_best(comparison) for task, comparison in comparisons.items()}
    return [
        replace(run, shown_best=frozenset(found[run.task].get(run.name, ()))) if run.task in found else run
        for run in runs
    ]


def shown_best(comparison: Mapping[str, Any]) -> dict[str, set[Line]]:
    """By system, the settings and measures in which it is shown to be better than every other one.

    The baseline is, where every other system is worse by the test. Another system is, where it is better than the
    baseline by the test, and the interval of its difference from the baseline lies beyond those of all others: two of
    these are not tested against each other, and intervals that do not meet ask for more than a test would.

    Args:
        comparison: what `compare` found.
    """
    lines: defaultdict[Line, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for entry in comparison["comparisons"]:
        lines[entry["setting"], entry["measure"]][entry["system"]] = entry
    best: defaultdict[str, set[Line]] = defaultdict(set)
    for line, entries in lines.items():
        if all(entry["verdict"] == "worse" for entry in entries.values()):
            best[comparison["baseline"]].add(line)
        for name, entry in entries.items():
            others = [other for key, other in entries.items() if key != name]
            if entry["verdict"] == "better" and all(_beyond(line[1], entry, other) for other in others):
                best[name].add(line)
    return dict(best)


def _beyond(measure: str, entry: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if measure in directions.LOWER_IS_BETTER:
        return bool(entry["high"] < other["low"])
    return bool(entry["low"] > other["high"])
