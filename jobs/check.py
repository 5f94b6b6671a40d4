"""Check that evaluations still give the scores that are known of them."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import CheckConfig
from hbt_ray.job import main


def run(config: CheckConfig) -> dict[str, Any]:
    """Check, and show one line a score."""
    from rich.table import Table

    from hbt_ray.data.summary import terminal
    from hbt_ray.evaluation.expected import VERDICTS, check

    result = check(config)
    table = Table("", "model", "task", "text", "score", "expected", "found", "why")
    for score in result["scores"]:
        found = "-" if score["found"] is None else f"{score['found']:.5g}"
        about = (score["model"], score["task"], score["text"], score["score"])
        table.add_row(score["verdict"], *about, f"{score['expected']:.5g}", found, score["why"])
    terminal().print(table)
    counts = {verdict: result[verdict] for verdict in VERDICTS}
    if result["FAIL"]:
        return {"status": "error", "error": f"{result['FAIL']} of {len(result['scores'])} scores differ", **counts}
    return {"out": config.out, **counts}


if __name__ == "__main__":
    main(CheckConfig, run)
