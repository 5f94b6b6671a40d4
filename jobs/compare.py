"""Compare evaluations of one task: differences from the first system, tested, with intervals."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import CompareConfig
from hbt_ray.job import main


def run(config: CompareConfig) -> dict[str, Any]:
    """Compare, and show the table."""
    from hbt_ray.data.summary import terminal
    from hbt_ray.evaluation import comparison_files
    from hbt_ray.evaluation.compare import compare

    result = compare(config)
    terminal().print(comparison_files.table(result))
    return {"out": config.out, "comparisons": result["comparisons"]}


if __name__ == "__main__":
    main(CompareConfig, run)
