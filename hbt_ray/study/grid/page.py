"""A study's report: `index.html`, whole in itself, and `report.md` with the same tables."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jinja2
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import Grid
from hbt_ray.study import comparison_files
from hbt_ray.study.estimate import assumptions
from hbt_ray.study.grid import figures, sections
from hbt_ray.study.grid.answer import Findings
from hbt_ray.study.grid.beside import published
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.grid.estimates import Estimate
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.sections import Entry, Part, Sheet
from hbt_ray.study.markdown import markdown_table
from hbt_ray.terminal import number

PACKAGES = (
    "hbt-ray",
    "ray",
    "torch",
    "transformers",
    "sentence-transformers",
    "deepspeed",
    "pytrec_eval-terrier",
    "numpy",
)


def write_study(
    grid: Grid,
    cells: Sequence[Cell],
    done: Sequence[Cell],
    failed: Mapping[str, Mapping[str, str]],
    folder: StudyFolder,
    table: pa.Table,
    findings: Findings,
    estimated: Sequence[Estimate],
) -> None:
    """Write the report, and each plot as .svg and .png.

    Args:
        cells: all of the grid; `done` are those with results.
        failed: cell to the event and the reason why it has none.
    """
    states = {cell.id: failed.get(cell.id, {}).get("event", "not run") for cell in cells}
    states |= {cell.id: "done" for cell in done}
    parts = [_method(grid, findings), *_tasks(grid, findings, table), *published(grid, findings.groups, table)]
    parts += [
        _gaps(cells, done, failed, states),
        _cells(grid, cells, table, states, estimated),
        _versions(folder, done),
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hbt_ray", "study/grid"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=grid.question, answer=findings.sentence, more=findings.more, notes=grid.notes, parts=parts,
        counts=f"{len(done)} of {len(cells)} cells done", data=_data,
    )  # fmt: skip
    for plot in (plot for part in parts for plot in part.plots):
        storage.write_bytes(storage.join(folder.report, f"{plot.name}.svg"), plot.svg)
        storage.write_bytes(storage.join(folder.report, f"{plot.name}.png"), plot.png)
    storage.write_bytes(storage.join(folder.report, "index.html"), page.encode())
    storage.write_bytes(storage.join(folder.report, "report.md"), _markdown(grid, findings, parts).encode())


def _method(grid: Grid, findings: Findings) -> Part:
    seeds = sections.seeds_of(findings)
    texts = [
        f"Every combination of the axes is a cell: a training run, and its evaluation on"
        f" {', '.join(task.task for task in grid.tasks)}. "
        + (f"Figures are means over {seeds} seeds; ± is half of the 95 % Student t interval of that mean."
           if seeds > 1 else "There is one seed, so nothing is said of what another seed would give."),
        *(dict.fromkeys(comparison_files.meaning(one.found) for one in findings.comparisons)),
        *([] if len(findings.comparisons) < 2 else ["Each table of tests is a family of its own."]),
    ]  # fmt: skip
    return Part("How it was found out", texts, sections.setup(grid))


def _tasks(grid: Grid, findings: Findings, table: pa.Table) -> list[Part]:
    parts = []
    for task in dict.fromkeys(task.task for task in grid.tasks):
        if not findings.groups:
            continue
        part = Part(task, sections.widest(grid.answer.axis, findings.groups, table, task))
        part.sheets += [sections.quality(findings.groups, table, task), sections.bias(findings.groups, table, task)]
        part.sheets += [sections.spread(findings.groups, table, task), *sections.others(findings.groups, table, task)]
        for group in findings.groups:
            if grid.answer.kind == "curve":
                part.plots.append(figures.curve(grid, group, table, task))
            part.plots += filter(None, [figures.heat(grid.answer.axis, group, table, task)])
        for name, unit in (("rank_distance", "ranks"), ("peer@20", "mean p-value")):
            part.plots += filter(None, [figures.front(grid, findings.groups, table, task, name, unit)])
        part.plots += [figures.law(law, points, number) for number, (law, points) in enumerate(findings.laws)
                       if law.what.startswith(f"{task}:")]  # fmt: skip
        part.sheets += [sections.tests(one.group, one.found) for one in findings.comparisons if one.task == task]
        part.sheets = [sheet for sheet in part.sheets if sheet.rows and len(sheet.columns) > 1]
        parts.append(part)
    return parts


def _gaps(
    cells: Sequence[Cell], done: Sequence[Cell], failed: Mapping[str, Mapping[str, str]], states: Mapping[str, str]
) -> Part:
    part = Part("Failures and exclusions")
    without = [cell for cell in cells if cell not in done]
    if not without:
        part.texts.append("None: every cell of the grid is done.")
        return part
    part.texts.append(f"{len(without)} of {len(cells)} cells have no result, and no figure on this page knows of them.")
    rows = [
        [Entry(cell.id), Entry(cell.name), Entry(states[cell.id]),
         Entry(failed.get(cell.id, {}).get("reason", "not run, or over the budget"))]
        for cell in without
    ]  # fmt: skip
    part.sheets.append(Sheet(["cell", "values", "state", "reason"], rows))
    return part


def _cells(
    grid: Grid, cells: Sequence[Cell], table: pa.Table, states: Mapping[str, str], estimated: Sequence[Estimate]
) -> Part:
    part = Part("The cells")
    part.texts.append(
        "A cell's name is the hash of what decides its result; its folder has its settings, its model and its"
        " evaluations. All figures, by language and pair, are in results.parquet."
    )
    part.sheets.append(sections.all_cells(cells, table, states, [task.task for task in grid.tasks]))
    costs = [one.cost for one in estimated if one.cost is not None]
    if costs:
        hours, price = sum(cost.hours for cost in costs), sum(cost.price for cost in costs)
        part.texts.append(
            f"Estimated for all cells before any ran: {number(hours, 2)} GPU-hours, {number(price, 2)}"
            f" {costs[0].assumed.currency}. {assumptions(costs[0].assumed)}"
        )
    return part


def _versions(folder: StudyFolder, done: Sequence[Cell]) -> Part:
    part = Part("Versions, data and hashes")
    rows = [[Entry(name), Entry(version(name))] for name in PACKAGES]
    part.sheets.append(Sheet(["package", "version"], rows))
    found: dict[str, list[Entry]] = {}
    for cell in done:
        manifest = storage.read_manifest(folder.training(cell), "model")
        found[cell.id] = [Entry(cell.id), Entry(str(manifest["plan_hash"])), Entry(str(manifest["plan"]["store"])),
                          Entry(f"{manifest['steps']:,}"), Entry(f"{manifest['parameters']:,}")]  # fmt: skip
    columns = ["cell", "plan hash", "checksum of the store", "steps", "parameters"]
    part.sheets.append(Sheet(columns, list(found.values()), "what each cell was made of"))
    return part


def _markdown(grid: Grid, findings: Findings, parts: Sequence[Part]) -> str:
    lines = [f"# {grid.question}", "", findings.sentence, "", *(f"{text}\n" for text in findings.more)]
    lines += ["## What these data do and do not show", "", *(f"- {note}" for note in grid.notes), ""]
    for part in parts:
        lines += [f"## {part.title}", "", *(f"{text}\n" for text in part.texts)]
        for sheet in part.sheets:
            if sheet.title:
                lines += [f"### {sheet.title}", ""]
            rows = [[entry.text for entry in row] for row in sheet.rows]
            lines += [markdown_table([sheet.columns, *rows]), ""]
    return "\n".join(lines)


def _data(plot: Any) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(plot.svg).decode()}"
