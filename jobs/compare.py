"""Compare evaluations of one task: differences from the first system, tested, with intervals."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import CompareConfig
from hbt_ray.job import main


def run(config: CompareConfig) -> dict[str, Any]:
    """Compare, and show the table."""
    from hbt_ray.study.compare import compare
    from hbt_ray.study.comparison_files import comparison_table
    from hbt_ray.terminal import console

    result = compare(config)
    console().print(comparison_table(result))
    return {"out": config.out, "comparisons": result["comparisons"]}


if __name__ == "__main__":
    main(CompareConfig, run)
