"""A report on finished evaluations, each task's models compared with the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hbt_ray import storage
from hbt_ray.config import CompareConfig, ReportConfig
from hbt_ray.evaluation.formats import model_label
from hbt_ray.study import report
from hbt_ray.study.compare import compare
from hbt_ray.study.finished import Reported, read_results
from hbt_ray.study.named import named_folders
from hbt_ray.study.paired import measures_of
from hbt_ray.study.runs import Run
from hbt_ray.study.shown_best import with_tests


def report_on(config: ReportConfig) -> list[Run]:
    """Write the report, and the comparison of each task of several models in `comparison-<n>`; returns the runs.

    Raises:
        UserError: a folder holds no finished evaluation, one of MTEB's own tasks, or the evaluations of a task cannot
            be compared.
    """
    out = config.out
    read = [_read(entry) for entry in config.runs]
    comparisons: dict[str, Any] = {}
    for number, task in enumerate(dict.fromkeys(run.task for run, _ in read)):
        folders = [f"{run.name}={folder}" for run, folder in read if run.task == task]
        if len(folders) > 1:
            where = storage.join(out, f"comparison-{number}")
            main = next(run.results["headline"][0] for run, _ in read if run.task == task)
            measures = _shared(
                dict.fromkeys(["map", main, "rank_distance"]), [f for run, f in read if run.task == task]
            )
            comparisons[task] = compare(CompareConfig(runs=tuple(folders), out=where, measures=measures))
    runs = with_tests([run for run, _ in read], comparisons)
    report.write_page(out, config.title, runs, comparisons)
    return runs


def _shared(measures: Iterable[str], folders: Sequence[str]) -> tuple[str, ...]:
    """Those that all of the evaluations have values of, or none has: fused lists have no rank distance."""
    there = [measures_of(folder) for folder in folders]
    return tuple(name for name in measures if len({name in of_one for of_one in there}) == 1)


def _read(entry: str) -> tuple[Run, str]:
    """The run of `NAME=FOLDER` or `FOLDER`, then called by its model's folder, and the folder."""
    name, (folder,) = named_folders(entry)
    results = read_results(folder, Reported)
    return Run(name or model_label(results["model"]), results), folder
