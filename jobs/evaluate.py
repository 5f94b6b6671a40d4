"""Evaluate a model, or a run, on a task: monolingual, cross-lingual and multilingual retrieval, and language bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hbt_ray.config import EvaluateConfig
from hbt_ray.job import main

if TYPE_CHECKING:
    from rich.table import Table


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate, and show the headline figures."""
    from hbt_ray.data.summary import terminal
    from hbt_ray.evaluation.evaluate import evaluate

    results = evaluate(config)
    terminal().print(_subsets(results) if "by_subset" in results else _settings(results))
    return {"out": config.out, **_figures(results), **results["counts"]}


def _figures(results: dict[str, Any]) -> dict[str, Any]:
    """What the last line says of them; MTEB's tasks have a measure of their own and subsets instead of settings."""
    if "by_subset" in results:
        return {results["measure"]: results["main_score"]}
    settings = results["settings"]
    return {
        "map": {name: values["map"] for name, values in settings.items()},
        "rank_distance": settings.get("multilingual", {}).get("rank_distance"),
    }


def _settings(results: dict[str, Any]) -> Table:
    from rich.table import Table

    measures = dict.fromkeys(["map", *results["headline"]])
    title = f"{results['task']}, {results['model']}, {results['text']}"
    table = Table("setting", *("mAP" if name == "map" else name for name in measures), "rank distance", title=title)
    for setting, values in results["settings"].items():
        found = {"map": values["map"], **values["measures"]}
        distance = _number(values["rank_distance"], 1) if "rank_distance" in values else ""
        table.add_row(setting, *(_number(found[name], 4) for name in measures), distance)
    return table


def _subsets(results: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table("subset", results["measure"], title=f"{results['task']}, {results['model']}")
    for subset, value in results["by_subset"].items():
        table.add_row(subset, _number(value, 4))
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main(EvaluateConfig, run)
