"""Evaluate a model, or a run, on a task: monolingual, cross-lingual and multilingual retrieval, and language bias."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import EvaluateConfig
from hbt_ray.job import main


def run(config: EvaluateConfig) -> dict[str, Any]:
    """Evaluate, and show the headline figures."""
    from hbt_ray.evaluation.evaluate import evaluate
    from hbt_ray.evaluation.formats import model_label
    from hbt_ray.terminal import console, number, table

    results = evaluate(config)
    if "by_subset" in results:  # one of MTEB's own tasks
        rows = [[subset, number(value, 4)] for subset, value in results["by_subset"].items()]
        title = f"{results['task']}, {model_label(results['model'])}, {results.get('precision', '')}"
        console().print(table(["subset", results["measure"]], rows, title))
        return {
            "out": config.out,
            "precision": results.get("precision"),
            results["measure"]: results["main_score"],
            **results["counts"],
        }
    settings = results["settings"]
    measures = list(dict.fromkeys(["map", *results["headline"]]))
    rows = []
    for setting, values in settings.items():
        found = {"map": values["map"], **values["measures"]}
        distance = number(values["rank_distance"], 1) if "rank_distance" in values else ""
        rows.append([setting, *(number(found[name], 4) for name in measures), distance])
    columns = ["setting", *("mAP" if name == "map" else name for name in measures), "rank distance"]
    title = f"{results['task']}, {model_label(results['model'])}, {results['text']}"
    if results.get("precision"):
        title += f", {results['precision']}"
    if fused := results.get("fused"):
        title += f", fused by {fused['fusion']} with {', '.join(map(model_label, fused['rankings'][1:]))}"
    if reranked := results.get("reranked"):
        title += f", reranked by {model_label(reranked['model'])}"
    console().print(table(columns, rows, title))
    return {
        "out": config.out,
        "map": {name: values["map"] for name, values in settings.items()},
        "precision": results.get("precision"),
        "rank_distance": settings.get("multilingual", {}).get("rank_distance"),
        "encoded": results["encoded"],
        **results["counts"],
        **results.get("left_out", {}),
    }


if __name__ == "__main__":
    main(EvaluateConfig, run)
