"""A report on models and tasks: a page that opens from disk, its plots beside it, and its tables as Markdown."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import rich.table
from rich.markup import escape

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.formats import file_name
from hbt_ray.study import comparison_files, plots, tables
from hbt_ray.study.paper import Claim
from hbt_ray.study.plots import Plot
from hbt_ray.study.runs import Run

# What a name stands for, shown when a run bears it.
_STRATEGIES = {
    "x-x": "every batch holds pairs of one language",
    "x-y": "in every pair, query and passage are in different languages",
    "hybrid": "each batch is one or the other, by chance",
    "untrained": "the model as it was before training",
}


def write_page(
    out_uri: str,
    title: str,
    runs: Sequence[Run],
    comparisons: Mapping[str, Mapping[str, Any]] | None = None,
    claims: Sequence[Claim] = (),
) -> None:
    """Write `index.html`, whole in itself, `report.md`, and each plot as .svg and .png, under `out_uri`.

    Args:
        runs: runs of one or several models on one or several tasks.
        comparisons: task to what `compare` found of its runs.
        claims: what the runs show, or do not, of what is claimed of them.

    Raises:
        UserError: there are no runs, or two of one name on one task.
    """
    if not runs:
        raise UserError("a report needs a run")
    (name, task), times = Counter((run.name, run.task) for run in runs).most_common(1)[0]
    if times > 1:
        raise UserError(f"a report needs runs with names of their own, and {times} of {task} are called {name}")
    of_tasks = {task: [run for run in runs if run.task == task] for task in dict.fromkeys(run.task for run in runs)}
    compared = comparisons or {}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hbt_ray", "study"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = list(dict.fromkeys(run.name for run in runs))
    page = environment.get_template("report.html.j2").render(
        title=title,
        models=names,
        strategies={name: _STRATEGIES[name] for name in names if name in _STRATEGIES},
        overview=tables.overview(runs),
        claims=claims,
        training=tables.training(runs) if any(run.steps for run in runs) else [],
        training_plots=_files(out_uri, plots.of_training(runs), ""),
        tasks=[_task(out_uri, task, of_task, compared.get(task)) for task, of_task in of_tasks.items()],
        compared=bool(compared),
    )
    storage.write_bytes(storage.join(out_uri, "index.html"), page.encode())
    storage.write_bytes(storage.join(out_uri, "report.md"), _markdown(title, runs, of_tasks, compared, claims).encode())


def overview(runs: Sequence[Run]) -> rich.table.Table:
    """The overview for the terminal; what is marked as the best of its column is bold and starred."""
    found = tables.overview(runs)
    shown = rich.table.Table()
    shown.add_column("model")
    above = [name for name, count in found.groups for _ in range(count)]
    for group, name in zip(above, found.columns, strict=True):
        shown.add_column(f"{escape(group)}\n{escape(name)}", justify="right")
    for name, cells in found.rows:
        shown.add_row(escape(name), *(f"[bold]{text} ★[/bold]" if star else f"{text}  " for text, star in cells))
    return shown


def _task(out_uri: str, task: str, runs: Sequence[Run], comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the page says of one task."""
    counts = [run.results["counts"] for run in runs]
    return {
        "name": task,
        "text": runs[0].results["text"],
        "languages": runs[0].languages(),
        "queries": f"{counts[0]['queries']:,}",
        "documents": f"{counts[0]['documents']:,}" if counts[0]["documents"] is not None else "unknown",
        "own": tables.own_measures(runs),
        "scripts": tables.scripts(runs),
        "by_language": tables.language_table(runs),
        "plots": _files(out_uri, plots.of_task(runs), f"{file_name(task)}-"),
        "comparison": comparison and {
            "columns": comparison_files.COLUMNS,
            "rows": comparison_files.comparison_rows(comparison),
            "meaning": comparison_files.meaning(comparison),
        },
    }  # fmt: skip


def _files(out_uri: str, drawn: Sequence[Plot], prefix: str) -> dict[str, dict[str, str]]:
    """Write the plots; by name what the page shows of them."""
    for plot in drawn:
        storage.write_bytes(storage.join(out_uri, f"{prefix}{plot.name}.svg"), plot.svg)
        storage.write_bytes(storage.join(out_uri, f"{prefix}{plot.name}.png"), plot.png)
    return {
        plot.name: {
            "file": f"{prefix}{plot.name}",
            "alt": plot.alt,
            "data": f"data:image/svg+xml;base64,{base64.b64encode(plot.svg).decode()}",
        }
        for plot in drawn
    }


def _markdown(
    title: str,
    runs: Sequence[Run],
    of_tasks: Mapping[str, Sequence[Run]],
    compared: Mapping[str, Mapping[str, Any]],
    claims: Sequence[Claim],
) -> str:
    parts = [f"# {title}\n", tables.table_markdown(tables.overview(runs), "model")]
    if claims:
        parts += ["## What is claimed, and whether these runs show it\n", *(f"- {claim}" for claim in claims), ""]
    for task, of_task in of_tasks.items():
        if own := tables.own_measures(of_task):
            parts += [f"## {task}: its own measures\n", tables.table_markdown(own, "model")]
        if task in compared:
            parts.append(comparison_files.comparison_markdown(compared[task]).replace("# ", "## ", 1))
    return "\n".join(parts)
