"""The tables of a report, as cells of text, of which the best is marked where it may be (`runs.stars`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hbt_ray.config import Setting
from hbt_ray.study.markdown import markdown_table
from hbt_ray.study.runs import MAPS, RANK_DISTANCE, SETTINGS, Column, Line, Run, stars
from hbt_ray.terminal import number

Cell = tuple[str, bool]  # what is shown, and whether it is marked as the best

_BY_LANGUAGE: tuple[tuple[str, Setting, str, int, bool], ...] = (
    ("Monolingual mAP", "monolingual", "by_language", 3, True),
    ("Cross-lingual mAP, by language of the query", "cross-lingual", "by_language", 3, True),
    ("Multilingual mAP, by language of the query", "multilingual", "by_language", 3, True),
    ("Rank distance, by language of the query", "multilingual", "rank_distance_by_language", 1, False),
)


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        groups: what stands above the columns, and over how many of them.
        columns: titles of the columns but the first, which has the rows' names.
        rows: name and cells of each row.
    """

    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    rows: Sequence[tuple[str, list[Cell]]]


def overview(runs: Sequence[Run]) -> Table:
    """One row a model: mAP in the settings of each task, then its rank distances (arXiv 2408.10536, table 1)."""
    names = list(dict.fromkeys(run.name for run in runs))
    tasks = list(dict.fromkeys(run.task for run in runs))
    by_key = {(run.name, run.task): run for run in runs}
    groups: list[tuple[str, int]] = []
    titles: list[str] = []
    columns: list[list[Cell]] = []

    def add(task: str, chosen: Sequence[Column], title: str) -> int:
        shown = 0
        for column in chosen:
            found = [by_key.get((name, task)) for name in names]
            values = [float("nan") if run is None else column.value(run) for run in found]
            if not np.isnan(values).all():
                shown += 1
                titles.append(f"{title or column.title}\N{NO-BREAK SPACE}{'↑' if column.largest_is_best else '↓'}")
                columns.append(_cells(found, values, column.decimals, column.largest_is_best, column.line))
        return shown

    for task in tasks:
        groups.append((task, add(task, MAPS, "")))
    if distances := sum(add(task, [RANK_DISTANCE], task) for task in tasks):
        groups.append((RANK_DISTANCE.title, distances))
    rows = [(name, [column[i] for column in columns]) for i, name in enumerate(names)]
    return Table([group for group in groups if group[1]], titles, rows)


def own_measures(runs: Sequence[Run]) -> Table | None:
    """The measures by which the task of these runs is known, setting by setting, unless that is mAP alone."""
    measures = [name for name in runs[0].results.get("headline", ()) if name != "map"]
    groups: list[tuple[str, int]] = []
    titles: list[str] = []
    columns: list[list[Cell]] = []
    for setting in SETTINGS:
        chosen = {name: [run.measure(setting, name) for run in runs] for name in measures}
        chosen = {name: values for name, values in chosen.items() if not np.isnan(values).all()}
        if chosen:
            groups.append((setting, len(chosen)))
        titles += chosen
        columns += [_cells(runs, values, 3, True, (setting, name)) for name, values in chosen.items()]
    if not columns:
        return None
    return Table(groups, titles, [(run.name, [column[i] for column in columns]) for i, run in enumerate(runs)])


def scripts(runs: Sequence[Run]) -> Table | None:
    """Cross-lingual mAP by whether query and passages are written in one script; None where all are."""
    values = {key: [run.by_script()[key] for run in runs] for key in ("same", "different")}
    if any(np.isnan(column).all() for column in values.values()):
        return None
    columns = [_cells(runs, column, 3, True) for column in values.values()]
    rows = [(run.name, [column[i] for column in columns]) for i, run in enumerate(runs)]
    return Table([], ["same script", "different scripts"], rows)


def language_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The tables, languages x runs, of each measure of one task, and how far its languages lie apart in each run."""
    tables = []
    for title, setting, measure, decimals, largest in _BY_LANGUAGE:
        found = [run.by_language(setting, measure) for run in runs]
        rows = []
        for language in sorted(set().union(*found)):
            values = [values.get(language, float("nan")) for values in found]
            rows.append((language, _cells(runs, values, decimals, largest)))
        if rows:
            apart = [number(_apart(values), decimals) for values in found]
            tables.append({"title": title, "names": [run.name for run in runs], "rows": rows, "apart": apart})
    return tables


def training(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The rows on what was trained: steps, pairs, monolingual batches, pairs per second; each model once."""
    rows = []
    for run in {run.name: run for run in runs}.values():
        if run.steps:
            speed = np.median([line["pairs_per_s"] for line in run.steps])
            pairs = sum(run.rows_by_query_language().values())
            rows.append(
                (run.name, [f"{len(run.steps):,}", f"{pairs:,}", f"{run.monolingual_share():.0%}", f"{speed:,.0f}"])
            )
        else:
            rows.append((run.name, ["0", "0", "–", "–"]))
    return rows


def table_markdown(table: Table, first: str) -> str:
    """The table in Markdown, the best in bold; groups become part of the titles."""
    above = [name for name, count in table.groups for _ in range(count)] or [""] * len(table.columns)
    titles = [f"{group} {title}".strip() for group, title in zip(above, table.columns, strict=True)]
    rows = [[name, *(f"**{text}**" if star else text for text, star in cells)] for name, cells in table.rows]
    return markdown_table([[first, *titles], *rows]) + "\n"


def _cells(
    runs: Sequence[Run | None], values: Sequence[float], decimals: int, largest: bool, line: Line | None = None
) -> list[Cell]:
    shown = [number(value, decimals) for value in values]
    return list(zip(shown, stars(runs, shown, values, largest, line), strict=True))


def _apart(values: dict[str, float]) -> float:
    known = [value for value in values.values() if not np.isnan(value)]
    return max(known) - min(known) if known else float("nan")
