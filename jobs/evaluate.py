"""Evaluate a model, or a run, on a task: monolingual, cross-lingual and multilingual retrieval, and language bias."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from hbt_ray.config import EvaluateConfig, UserError
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.job import main
from hbt_ray.terminal import console


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate, and show the headline figures."""
    if config.task.startswith("mteb:"):
        return _mteb(config)
    results = evaluate(config)
    settings = results["settings"]
    measures = dict.fromkeys(["map", *results["headline"]])
    title = f"{results['task']}, {results['model']}, {results['text']}"
    table = Table("setting", *("mAP" if name == "map" else name for name in measures), "rank distance", title=title)
    for setting, values in settings.items():
        found = {"map": values["map"], **values["measures"]}
        distance = _number(values["rank_distance"], 1) if "rank_distance" in values else ""
        table.add_row(setting, *(_number(found[name], 4) for name in measures), distance)
    console().print(table)
    return {
        "out": config.out,
        "map": {name: values["map"] for name, values in settings.items()},
        "rank_distance": settings.get("multilingual", {}).get("rank_distance"),
        **results["counts"],
    }


def _mteb(config: EvaluateConfig) -> dict[str, Any]:
    try:
        from hbt_ray.evaluation import mteb as mteb_task
    except ModuleNotFoundError as error:
        raise UserError(f"--task {config.task} needs {error.name}: install hbt-ray[mteb]") from None
    results = mteb_task.evaluate_mteb(config)
    table = Table("subset", results["measure"], title=f"{results['task']}, {results['model']}")
    for subset, value in results["by_subset"].items():
        table.add_row(subset, _number(value, 4))
    console().print(table)
    return {"out": config.out, results["measure"]: results["main_score"], **results["counts"]}


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main(EvaluateConfig, run)
