"""The report of a study: one page that opens from disk, its plots beside it, and the headline for the terminal."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
from rich.markup import escape
from rich.table import Table

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.study import plots
from hbt_ray.study.runs import HEADLINE, Run, Setting, best, show

__all__ = ["Run", "table", "write"]

# What a name stands for, shown when a run bears it.
_STRATEGIES = {
    "x-x": "every batch holds pairs of one language",
    "x-y": "in every pair, query and passage are in different languages",
    "hybrid": "each batch is one or the other, by chance",
    "untrained": "the model as it was before training",
}
_BY_LANGUAGE: tuple[tuple[str, Setting, str, int, bool], ...] = (
    ("Monolingual mAP", "monolingual", "by_language", 3, True),
    ("Cross-lingual mAP, by language of the query", "cross-lingual", "by_language", 3, True),
    ("Multilingual mAP, by language of the query", "multilingual", "by_language", 3, True),
    ("Rank distance, by language of the query", "multilingual", "rank_distance_by_language", 1, False),
)


def write(out_uri: str, title: str, runs: Sequence[Run]) -> None:
    """Write `index.html`, whole in itself, and each plot as .svg and .png, under `out_uri`.

    Raises:
        UserError: there are no runs, or two have the same name.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise UserError(f"a report needs runs with names of their own, not {names}")
    drawn = plots.draw(runs)
    for plot in drawn.values():
        storage.write_bytes(storage.join(out_uri, f"{plot.name}.svg"), plot.svg)
        storage.write_bytes(storage.join(out_uri, f"{plot.name}.png"), plot.png)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hbt_ray", "study"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        task=runs[0].results["task"],
        languages=runs[0].languages(),
        strategies={name: _STRATEGIES[name] for name in names if name in _STRATEGIES},
        headline=_headline(runs),
        training=[_training(run) for run in runs],
        by_language=[_language_table(runs, *spec) for spec in _BY_LANGUAGE],
        plots={
            name: {"alt": plot.alt, "data": f"data:image/svg+xml;base64,{base64.b64encode(plot.svg).decode()}"}
            for name, plot in drawn.items()
        },
    )
    storage.write_bytes(storage.join(out_uri, "index.html"), page.encode())


def table(runs: Sequence[Run]) -> Table:
    """The headline table for the terminal; the best of each column is bold and starred."""
    headline = _headline(runs)
    shown = Table()
    shown.add_column("run")
    for name in headline["columns"]:
        shown.add_column(name, justify="right")
    for row in headline["rows"]:
        shown.add_row(
            escape(row["name"]), *(f"[bold]{text} ★[/bold]" if star else f"{text}  " for text, star in row["cells"])
        )
    return shown


def _headline(runs: Sequence[Run]) -> dict[str, Any]:
    columns = []
    for column in HEADLINE:
        values = [column.value(run) for run in runs]
        shown = [show(value, column.decimals) for value in values]
        columns.append(list(zip(shown, best(shown, values, column.largest_is_best), strict=True)))
    return {
        "columns": [f"{column.title}\N{NO-BREAK SPACE}{'↑' if column.largest_is_best else '↓'}" for column in HEADLINE],
        "rows": [{"name": run.name, "cells": [column[i] for column in columns]} for i, run in enumerate(runs)],
    }


def _training(run: Run) -> dict[str, str]:
    """The row of one run in the table of what was trained and searched."""
    counts = run.results["counts"]
    searched = {"queries": f"{counts['queries']:,}", "documents": f"{counts['documents']:,}"}
    if not run.steps:
        return {"name": run.name, **searched, "steps": "0", "pairs": "0", "monolingual": "–", "speed": "–"}
    return {
        "name": run.name,
        **searched,
        "steps": f"{len(run.steps):,}",
        "pairs": f"{sum(run.rows_by_query_language().values()):,}",
        "monolingual": f"{run.monolingual_share():.0%}",
        "speed": f"{np.median([line['pairs_per_s'] for line in run.steps]):,.0f}",
    }


def _language_table(
    runs: Sequence[Run], title: str, setting: Setting, measure: str, decimals: int, largest: bool
) -> dict[str, Any]:
    """Languages x runs of one measure, and how far its languages lie apart in each run."""
    by_run = [run.by_language(setting, measure) for run in runs]
    rows = []
    for lang in sorted(set().union(*by_run)):
        values = [values.get(lang, float("nan")) for values in by_run]
        shown = [show(value, decimals) for value in values]
        rows.append({"lang": lang, "cells": list(zip(shown, best(shown, values, largest), strict=True))})
    apart = [show(_apart(values), decimals) for values in by_run]
    return {"title": title, "names": [run.name for run in runs], "rows": rows, "apart": apart}


def _apart(by_language: dict[str, float]) -> float:
    values = [value for value in by_language.values() if not np.isnan(value)]
    return max(values) - min(values) if values else float("nan")
