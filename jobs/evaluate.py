"""Evaluate a model in the monolingual, cross-lingual and multilingual settings."""

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
    table = Table("setting", "mAP", "rank distance", title=f"{results['task']}, {results['model']}, {results['text']}")
    for name, values in settings.items():
        distance = values.get("rank_distance")
        table.add_row(name, _number(values["map"], 4), _number(distance, 1) if "rank_distance" in values else "")
    Console(stderr=True).print(table)
    headline = {name: values["map"] for name, values in settings.items()}
    return {
        "out": config.out,
        "map": headline,
        "rank_distance": settings["multilingual"]["rank_distance"],
        **results["counts"],
    }


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main(EvaluateConfig, run)
