"""Finished evaluations of several systems, read and made sure to be of the same queries, pools and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.study.finished import Compared, read_results

KEY = ["setting", "query", "pool"]


@dataclass(frozen=True)
class System:
    """A system, and what its runs were measured to be.

    Attributes:
        name: what the user calls it.
        folders: folders of its runs [URIs].
        values: measure to its value in each run and row, float64 [runs, rows]; NaN where a row has none.
    """

    name: str
    folders: tuple[str, ...]
    values: dict[str, np.ndarray]


class Evaluation(NamedTuple):
    """A finished evaluation.

    Attributes:
        folder: where it is [URI].
        results: content of results.json.
        table: content of per_query.parquet, in order of KEY.
    """

    folder: str
    results: dict[str, Any]
    table: pa.Table


def read_systems(named: Mapping[str, Sequence[str]], measures: Sequence[str]) -> tuple[list[System], Evaluation]:
    """The systems, and the first evaluation, whose rows are everyone's.

    Args:
        named: system to the folders of its runs [URIs].

    Raises:
        UserError: a folder holds no finished evaluation, a measure is missing or not a number, or the evaluations are
            not of the same task, text, queries, items, pools and documents.
    """
    systems: list[System] = []
    first: Evaluation | None = None
    for name, folders in named.items():
        runs = []
        for folder in folders:
            run = _evaluation(folder)
            first = first or run
            _same(first, run)
            runs.append([_numbers(run, measure) for measure in measures])
        values = {measure: np.stack([run[i] for run in runs]) for i, measure in enumerate(measures)}
        systems.append(System(name, tuple(folders), values))
        for measure in measures:
            if (np.isnan(values[measure]) != np.isnan(systems[0].values[measure][0])).any():
                raise UserError(
                    f"{name} has no {measure} for other queries than {systems[0].name}: name other --measures"
                )
    assert first is not None
    return systems, first


def measures_of(folder: str) -> set[str]:
    """The measures that a finished evaluation has a number of in some row [URI of its folder].

    Raises:
        UserError: the folder holds no finished evaluation.
    """
    table = _evaluation(folder).table
    floats = {name for name in table.column_names if pa.types.is_floating(table[name].type)}
    known = {name for name in floats if pc.any(pc.is_valid(table[name])).as_py()}
    return {"map" if name == "ap" else name for name in known}


def _evaluation(folder: str) -> Evaluation:
    results, uri = read_results(folder, Compared), storage.join(folder, "per_query.parquet")
    table = storage.read_parquet(uri)
    if missing := [name for name in (*KEY, "lang", "item", "relevant") if name not in table.column_names]:
        raise UserError(f"{uri} has no column {missing[0]}")
    return Evaluation(folder, results, table.sort_by([(column, "ascending") for column in KEY]))


def _same(first: Evaluation, other: Evaluation) -> None:
    """Check that two evaluations can be paired.

    Raises:
        UserError: the two are not of the same task, text, queries, items, pools and documents.
    """
    where = f"{first.folder} and {other.folder} cannot be compared"
    facts = {
        "task": [run.results["task"] for run in (first, other)],
        "text": [run.results["text"] for run in (first, other)],
        "number of documents": [run.results["counts"]["documents"] for run in (first, other)],
    }
    for what, (here, there) in facts.items():
        if here != there and None not in (here, there):  # the documents behind a run file may not be known
            raise UserError(f"{where}: the {what} is {here} and {there}")
    queries, others = (run.table["query"].to_pylist() for run in (first, other))
    if alone := set(queries) ^ set(others):
        raise UserError(f"{where}: only one has {_some(alone)}")
    if not first.table.select(KEY).equals(other.table.select(KEY)):
        raise UserError(f"{where}: the same queries were searched in other pools")
    columns = {
        "language": [run.table["lang"] for run in (first, other)],
        "item": [run.table["item"] for run in (first, other)],
        "number of relevant documents": [run.table["relevant"] for run in (first, other)],
    }
    for what, (left, right) in columns.items():
        if differ := {
            key for key, unlike in zip(queries, pc.not_equal(left, right).to_pylist(), strict=True) if unlike
        }:
            raise UserError(f"{where}: another {what} in {_some(differ)}")


def _some(queries: set[str]) -> str:
    examples = ", ".join(sorted(queries)[:3])
    return f"{len(queries):,} queries, {examples}" if len(queries) > 1 else f"query {examples}"


def _numbers(run: Evaluation, measure: str) -> np.ndarray:
    """The values of a measure, float64 [rows], NaN where a row has no value."""
    column = "ap" if measure == "map" else measure
    if column not in run.table.column_names or not pa.types.is_floating(run.table[column].type):
        raise UserError(f"--measures {measure}: {run.folder} has no such measure")
    wrong = pc.is_nan(run.table[column]).fill_null(column == "ap")  # every row has an average precision
    if pc.any(wrong).as_py():
        queries = set(run.table["query"].filter(wrong).to_pylist())
        raise UserError(f"{run.folder}: {measure} in per_query.parquet is not a number for {_some(queries)}")
    return run.table[column].to_numpy(zero_copy_only=False).astype(np.float64)
