"""Compare evaluations of one task: differences from the first system, tested, with intervals."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import CompareConfig
from hbt_ray.job import main
from hbt_ray.study import comparison_files
from hbt_ray.study.compare import compare
from hbt_ray.terminal import console


def run(config: CompareConfig) -> dict[str, Any]:
    """Compare, and show the table."""
    result = compare(config)
    console().print(comparison_files.comparison_table(result))
    return {"out": config.out, "comparisons": result["comparisons"]}


if __name__ == "__main__":
    main(CompareConfig, run)
