"""The whole road on the built-in sample: prepare, train three strategies, encode, index, evaluate, report."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import DemoConfig
from hbt_ray.job import main


def run(config: DemoConfig) -> dict[str, Any]:
    """The demo; its headline table and what it shows of the paper's claims, in the terminal."""
    from rich.console import Console

    from hbt_ray.study import report
    from hbt_ray.study.demo import demo

    result = demo(config)
    console = Console(width=100)
    console.print(report.overview(result["runs"]))
    console.print("What the paper claims, and whether this run shows it:")
    for claim in result["claims"]:
        console.print(f"- {claim}", highlight=False, markup=False)
    return {"report": result["report"], "shown": sum(claim.shown for claim in result["claims"])}


if __name__ == "__main__":
    main(DemoConfig, run)
