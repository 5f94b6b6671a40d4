"""The whole road on the built-in sample: prepare, train three strategies, encode, index, evaluate, report."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import DemoConfig
from hbt_ray.job import main


def run(config: DemoConfig) -> dict[str, Any]:
    """The demo, and its headline table in the terminal."""
    from rich.console import Console

    from hbt_ray.study import report
    from hbt_ray.study.demo import demo

    result = demo(config)
    Console(width=100).print(report.overview(result["runs"]))
    return {"report": result["report"]}


if __name__ == "__main__":
    main(DemoConfig, run)
