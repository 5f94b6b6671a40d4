"""A report on finished evaluations: the settings of every task, language bias, and which differences are shown."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import ReportConfig
from hbt_ray.job import main


def run(config: ReportConfig) -> dict[str, Any]:
    """Write the report, and show its overview."""
    from hbt_ray import storage
    from hbt_ray.data.summary import terminal
    from hbt_ray.study import evaluations, report

    terminal().print(report.table(evaluations.write(config)))
    return {"out": config.out, "report": storage.join(config.out, "index.html")}


if __name__ == "__main__":
    main(ReportConfig, run)
