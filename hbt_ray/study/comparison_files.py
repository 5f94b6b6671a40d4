"""What a comparison writes and shows: compare.json, a table for Markdown and for the terminal, and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from hbt_ray import storage
from hbt_ray.study import directions
from hbt_ray.study.figure import forms
from hbt_ray.study.markdown import markdown_table

COLUMNS = ("system", "setting", "measure", "of baseline", "of system", "difference", "interval", "p", "p (Holm)",
           "effect size", "result")  # fmt: skip


def write_comparison(out: str, result: Mapping[str, Any]) -> None:
    """Write compare.json, compare.md, compare.svg and compare.png into the folder `out`."""
    storage.write_json(storage.join(out, "compare.json"), result)
    storage.write_bytes(storage.join(out, "compare.md"), comparison_markdown(result).encode())
    for ending, drawn in forms(lambda figure: _draw(figure, result)).items():
        storage.write_bytes(storage.join(out, f"compare.{ending}"), drawn)


def comparison_table(result: Mapping[str, Any]) -> Table:
    """The table of a comparison for the terminal."""
    shown = Table(title=escape(_title(result)))
    for column in COLUMNS:
        shown.add_column(column)
    for row in comparison_rows(result):
        shown.add_row(*(escape(cell) for cell in row))
    return shown


def comparison_markdown(result: Mapping[str, Any]) -> str:
    """The table with what its columns mean, and the systems with their runs."""
    lines = [f"# {_title(result)}", "", markdown_table([COLUMNS, *comparison_rows(result)]), ""]
    lines += [meaning(result), ""]
    header = ("system", "setting", "measure", "mean of runs", "standard deviation over runs", "runs")
    by_system = [
        (system["name"], figure["setting"], figure["measure"], _number(figure["value"], figure["measure"]),
         _number(figure["spread"], figure["measure"]), str(len(figure["by_run"])))
        for system in result["systems"]
        for figure in system["figures"]
    ]  # fmt: skip
    return "\n".join([*lines, markdown_table([header, *by_system]), ""])


def meaning(result: Mapping[str, Any]) -> str:
    """What the columns of the table say."""
    return (
        f"Differences are system minus baseline, {result['baseline']}. Intervals: {result['level']:.0%}, bootstrap over"
        f" {result['items']:,} items (a question and its translations are one). p: {result['permutations']:,} sign"
        " flips of whole items, corrected over all rows by Holm's method. Effect size: mean over standard deviation of"
        " the items' shares (Cohen's d_z). Runs of several seeds are averaged for each query; the test is about other"
        " items, not about other seeds."
    )


def _title(result: Mapping[str, Any]) -> str:
    return f"{result['task']}, {result['text']}: against {result['baseline']}"


def comparison_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of the table, cells in the order of COLUMNS."""
    values = {
        (system["name"], figure["setting"], figure["measure"]): figure["value"]
        for system in result["systems"]
        for figure in system["figures"]
    }
    found = []
    for entry in result["comparisons"]:
        line = entry["setting"], entry["measure"]
        difference, low, high = (_number(entry[key], line[1], "+") for key in ("difference", "low", "high"))
        found.append((
            entry["system"], *line,
            *(_number(values[name, *line], line[1]) for name in (result["baseline"], entry["system"])),
            difference, f"{low} to {high}", f"{entry['p']:.4f}", f"{entry['p_holm']:.4f}",
            "–" if entry["effect_size"] is None else f"{entry['effect_size']:+.2f}", entry["verdict"],
        ))  # fmt: skip
    return found


def _number(value: float | None, measure: str, sign: str = "") -> str:
    """A measure from -1 or 0 to 1 with four digits, one in ranks with one."""
    if value is None:
        return "–"
    return f"{value:{sign},.1f}" if measure in directions.IN_RANKS else f"{value:{sign}.4f}"


def _draw(figure: Figure, result: Mapping[str, Any]) -> None:
    """A panel for each measure; in it the interval of every system's difference, setting by setting."""
    entries = result["comparisons"]
    measures = list(dict.fromkeys(entry["measure"] for entry in entries))
    rows = [[entry for entry in entries if entry["measure"] == measure] for measure in measures]
    figure.set_size_inches(9, 0.9 * len(measures) + 0.32 * len(entries))
    panels = figure.subplots(len(measures), squeeze=False, height_ratios=[len(row) + 1 for row in rows])[:, 0]
    for axes, measure, row in zip(panels, measures, rows, strict=True):
        for place, entry in enumerate(row):
            colour = {"better": "#009E73", "worse": "#D55E00"}.get(entry["verdict"], "#666666")
            axes.plot([entry["low"], entry["high"]], [place, place], color=colour, linewidth=2.5)
            axes.plot(entry["difference"], place, "o", color=colour, markersize=6)
        axes.axvline(0, color="#000000", linewidth=1)
        axes.set_yticks(range(len(row)), [f"{entry['system']}, {entry['setting']}" for entry in row])
        axes.set_ylim(len(row) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set_xlabel(f"difference in {measure} from {result['baseline']} ({directions.unit(measure)})")
    title = "green: better, orange: worse, grey: no difference shown"
    if directions.NO_DIRECTION & set(measures):
        title += ", or a measure without direction"
    figure.suptitle(title, fontsize=10)
