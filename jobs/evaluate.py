"""Evaluate a model, or a run, on a task: monolingual, cross-lingual and multilingual retrieval, and language bias."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from hbt_ray.config import EvaluateConfig
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.job import main


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate, and show the headline figures."""
    results = evaluate(config)
    settings = results["settings"]
    measures = dict.fromkeys(["map", *results["headline"]])
    title = f"{results['task']}, {results['model']}, {results['text']}"
    table = Table("setting", *("mAP" if name == "map" else name for name in measures), "rank distance", title=title)
    for setting, values in settings.items():
        found = {"map": values["map"], **values["measures"]}
        distance = _number(values["rank_distance"], 1) if "rank_distance" in values else ""
        table.add_row(setting, *(_number(found[name], 4) for name in measures), distance)
    Console(stderr=True).print(table)
    return {
        "out": config.out,
        "map": {name: values["map"] for name, values in settings.items()},
        "rank_distance": settings.get("multilingual", {}).get("rank_distance"),
        **results["counts"],
    }


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main(EvaluateConfig, run)
