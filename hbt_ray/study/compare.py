"""Evaluations of one task compared: each system with the first, the baseline, in every setting and measure.

All against one baseline, and not all pairs: it asks what a study asks, and the correction for a family of tests costs
less power. The tests are those of `significance.py`, and the figures they are about those of results.json. Several runs
of a system, of different seeds, are averaged query by query; the items are what is resampled, not the seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray import storage
from hbt_ray.config import CompareConfig, Setting, UserError
from hbt_ray.study import comparison_files, directions, paired, significance
from hbt_ray.study.named import named_folders
from hbt_ray.study.paired import Evaluation, System

ALPHA = 0.05
SAME = "no difference shown"
OWNS = ("compare.json", "compare.md", "compare.svg", "compare.png", "manifest.json")  # what it makes in its folder


@dataclass(frozen=True)
class Line:
    """A measure in a setting.

    Attributes:
        rows: numbers of the rows of the per-query table that have the measure, int [rows].
        items, groups: numbers of each row's item, and of its languages of query and pool, int [rows].
    """

    setting: str
    measure: str
    rows: np.ndarray
    items: np.ndarray
    groups: np.ndarray


def compare(config: CompareConfig) -> dict[str, Any]:
    """Compare the systems; a finished comparison with the same settings is returned as it is.

    Returns: what compare.json holds.

    Raises:
        UserError: there are fewer than two systems, or their evaluations cannot be compared (`read_systems`).
    """
    out = config.out
    named = parse_runs(config.runs)
    systems, first = paired.read_systems(named, config.measures)
    lines = _lines(first.table, systems[0])
    if not lines:
        raise UserError(f"--measures {' '.join(config.measures)}: {first.folder} has no value of it in any setting")
    settings = {**config.model_dump(mode="json", exclude={"out", "runs"}), "systems": list(named.items())}
    with storage.claimed(out, "compare", settings, OWNS):
        if not storage.committed(out):
            comparison_files.write_comparison(out, _result(systems, first, lines, config.permutations, config.seed))
            storage.commit(out, "comparison", {"task": first.results["task"], "text": first.results["text"]})
    done: dict[str, Any] = storage.read_json(storage.join(out, "compare.json"))
    return done


def compare_folders(
    named: Mapping[str, Sequence[str]], measures: Sequence[str], permutations: int, seed: int
) -> dict[str, Any]:
    """What `compare` finds, of systems by name with the folders of their runs [URIs], the baseline first; nothing is
    written.

    Measures that the first evaluation does not have are left out.

    Raises:
        UserError: the evaluations cannot be compared (`read_systems`).
    """
    there = paired.measures_of(next(iter(named.values()))[0])
    systems, first = paired.read_systems(named, [measure for measure in measures if measure in there])
    return _result(systems, first, _lines(first.table, systems[0]), permutations, seed)


def _result(
    systems: Sequence[System], first: Evaluation, lines: Sequence[Line], permutations: int, seed: int
) -> dict[str, Any]:
    return {
        "task": first.results["task"],
        "text": first.results["text"],
        "baseline": systems[0].name,
        "items": pc.count_distinct(first.table["item"]).as_py(),
        "level": significance.LEVEL,
        "permutations": permutations,
        "seed": seed,
        "systems": [_figures(system, lines) for system in systems],
        "comparisons": _comparisons(systems, lines, permutations, seed),
    }


def parse_runs(runs: Sequence[str]) -> dict[str, list[str]]:
    """The folders of each system, by name, of `NAME=FOLDER,FOLDER`; without a name it is called by what is there.

    Raises:
        UserError: fewer than two systems, or two of one name, or one folder twice.
    """
    named: dict[str, list[str]] = {}
    for run in runs:
        name, folders = named_folders(run)
        name = name or run
        if name in named:
            raise UserError(f"--runs: two systems are called {name}")
        named[name] = folders
    if len(named) < 2:
        raise UserError(f"--runs: a comparison needs two systems or more, not {len(named)}")
    folder, times = Counter(folder for folders in named.values() for folder in folders).most_common(1)[0]
    if times > 1:
        raise UserError(f"--runs: {folder} is named {times} times")
    return named


def _lines(table: pa.Table, system: System) -> list[Line]:
    """Every setting that has a measure."""
    setting = table["setting"].to_numpy(zero_copy_only=False)
    items = _codes(table["item"].to_pylist())
    groups = _codes(list(zip(table["lang"].to_pylist(), table["pool"].to_pylist(), strict=True)))
    lines = []
    for measure, values in system.values.items():
        there = ~np.isnan(values[0])
        for name in get_args(Setting):
            rows = np.flatnonzero(there & (setting == name))
            if len(rows):
                lines.append(Line(name, measure, rows, items[rows], groups[rows]))
    return lines


def _codes(values: Sequence[Any]) -> np.ndarray:
    """Equal values as equal numbers from 0, int64 [values]."""
    numbers = {value: number for number, value in enumerate(sorted(set(values)))}
    return np.array([numbers[value] for value in values], dtype=np.int64)


def _figures(system: System, lines: Sequence[Line]) -> dict[str, Any]:
    """The headline averages of a system: of each run, their mean, and their standard deviation over runs."""
    figures = []
    for line in lines:
        by_run = system.values[line.measure][:, line.rows] @ significance.macro_weights(line.groups)
        figures.append({
            "setting": line.setting,
            "measure": line.measure,
            "value": float(by_run.mean()),
            "by_run": by_run.tolist(),
            "spread": float(by_run.std(ddof=1)) if len(by_run) > 1 else None,
        })  # fmt: skip
    return {"name": system.name, "folders": list(system.folders), "figures": figures}


def _comparisons(
    systems: Sequence[System], lines: Sequence[Line], permutations: int, seed: int
) -> list[dict[str, Any]]:
    """One entry for each system after the first and line; the p-values of all are one family."""
    baseline, *others = systems
    entries: list[dict[str, Any]] = []
    shares = []
    count = 1 + max(int(line.items.max()) for line in lines)
    for system in others:
        for line in lines:
            mine, theirs = (one.values[line.measure][:, line.rows].mean(axis=0) for one in (system, baseline))
            share = significance.item_shares(line.items, line.groups, mine - theirs, count)
            present = np.unique(line.items)
            low, high = significance.bootstrap_interval(line.items, line.groups, mine - theirs, permutations, seed)
            shares.append(share)
            entries.append({
                "system": system.name,
                "setting": line.setting,
                "measure": line.measure,
                "difference": float(share.sum()),
                "low": low,
                "high": high,
                "effect_size": significance.effect_size(share[present]),
                "items": len(present),
            })  # fmt: skip
    p = significance.sign_flip_test(np.stack(shares, axis=1), permutations, seed)
    for entry, alone, corrected in zip(entries, p.tolist(), significance.holm(p).tolist(), strict=True):
        shown = directions.verdict(entry["measure"], entry["difference"])
        verdict = SAME if corrected >= ALPHA else shown
        entry.update(p=alone, p_holm=corrected, verdict=verdict)
    return entries
