"""Check that evaluations still give the scores that are known of them."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import CheckConfig
from hbt_ray.job import main


def run(config: CheckConfig) -> dict[str, Any]:
    """Check, and show one line a score."""
    from hbt_ray.evaluation.expected import VERDICTS, check_scores
    from hbt_ray.terminal import console, table

    result = check_scores(config)
    rows = [
        [
            *(score[name] for name in ("verdict", "model", "task", "text", "score")),
            *("-" if score[name] is None else f"{score[name]:.5g}" for name in ("expected", "found")),
            score["why"],
        ]
        for score in result["scores"]
    ]
    columns = ["", "model", "task", "text", "score", "expected", "found", "why"]
    console().print(table(columns, rows, reads=(1, 2, 3, 4, 7)))
    counts = {verdict: result[verdict] for verdict in VERDICTS}
    if result["FAIL"]:
        return {"status": "error", "error": f"{result['FAIL']} of {len(result['scores'])} scores differ", **counts}
    return {"out": config.out, **counts}


if __name__ == "__main__":
    main(CheckConfig, run)
