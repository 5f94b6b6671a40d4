"""`results.parquet`: every figure of a study in one long table, for anybody's own analysis.

One row a cell, task, setting, measure, and language of the queries and pool; the headline average of a setting, a mean
over these, has neither. Axes are columns called `axis_<name>`. Nothing in it depends on when or where a cell ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import Grid, TaskSettings
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.grid.folder import StudyFolder

AXIS = "axis_"
MTEB = "mteb:"  # begins the names of its tasks
BEFORE_MEASURES = ("query", "lang", "item", "setting", "pool", "relevant", "ranks")  # columns of per_query.parquet
GROUP = ["setting", "lang", "pool"]


def write_results(grid: Grid, cells: Sequence[Cell], folder: StudyFolder) -> pa.Table:
    """Write the table of all cells that are done, in the order of the grid; returns it.

    Columns: cell, `axis_…`, task, setting, measure, query_language, pool, value, queries.
    """
    tables = [
        figures(cell, task, folder.evaluation(cell, task))
        for cell in cells
        for task in grid.tasks
        if storage.committed(folder.evaluation(cell, task))
    ]
    schema = _schema(list(grid.axes))
    table = pa.concat_tables([schema.empty_table(), *(table.select(schema.names).cast(schema) for table in tables)])
    storage.write_parquet(folder.results, table)
    return table


def figures(cell: Cell, task: TaskSettings, evaluation: str) -> pa.Table:
    """The figures of one evaluation [URI of its folder]; those of MTEB's own tasks are by subset, setting `mteb`."""
    if task.task.startswith(MTEB):
        return _of_mteb(cell, task, storage.read_json(storage.join(evaluation, "results.json")))
    per_query = storage.read_parquet(storage.join(evaluation, "per_query.parquet"))
    names = [
        name
        for name in per_query.column_names
        if name not in BEFORE_MEASURES and pa.types.is_floating(per_query[name].type)
    ]
    means = per_query.group_by(GROUP, use_threads=False).aggregate(
        [(name, kind) for name in names for kind in ("mean", "count")]
    )
    means = means.sort_by([(name, "ascending") for name in GROUP])
    rows: list[dict[str, Any]] = []
    for name in names:
        measure = "map" if name == "ap" else name
        found: dict[str, list[float]] = {}
        own: list[dict[str, Any]] = []
        for row in means.to_pylist():
            value = row[f"{name}_mean"]
            if value is None or np.isnan(value):
                continue
            found.setdefault(row["setting"], []).append(value)
            own.append(_row(cell, task, row["setting"], measure, row["lang"], row["pool"], value, row[f"{name}_count"]))
        for setting, values in found.items():
            queries = sum(row["queries"] for row in own if row["setting"] == setting)
            rows.append(_row(cell, task, setting, measure, None, None, sum(values) / len(values), queries))
        rows += own
    return pa.Table.from_pylist(rows, _schema(list(cell.values)))


def _of_mteb(cell: Cell, task: TaskSettings, results: Mapping[str, Any]) -> pa.Table:
    """MTEB's main score of each subset, in the column of the language, and their mean."""
    measure, queries = results["measure"], results["counts"]["queries"]
    rows = [_row(cell, task, "mteb", measure, None, None, results["main_score"], queries)]
    for subset, value in results["by_subset"].items():
        rows.append(_row(cell, task, "mteb", measure, subset, None, value, 0))
    return pa.Table.from_pylist(rows, _schema(list(cell.values)))


def headlines(table: pa.Table) -> Mapping[tuple[str, str, str, str], float]:
    """The headline averages: cell, task, setting and measure to the value."""
    own = table.filter(table["query_language"].is_null())
    keys = zip(*(own[name].to_pylist() for name in ("cell", "task", "setting", "measure")), strict=True)
    return dict(zip(keys, own["value"].to_pylist(), strict=True))


def _row(
    cell: Cell,
    task: TaskSettings,
    setting: str,
    measure: str,
    language: str | None,
    pool: str | None,
    value: float,
    queries: int,
) -> dict[str, Any]:
    return {
        "cell": cell.id,
        **{f"{AXIS}{axis}": shown for axis, shown in cell.values.items()},
        "task": task.task,
        "setting": setting,
        "measure": measure,
        "query_language": language,
        "pool": pool,
        "value": value,
        "queries": queries,
    }


def _schema(axes: Sequence[str]) -> pa.Schema:
    texts = ["cell", *(f"{AXIS}{axis}" for axis in axes), "task", "setting", "measure", "query_language", "pool"]
    return pa.schema([*((name, pa.string()) for name in texts), ("value", pa.float64()), ("queries", pa.int64())])
