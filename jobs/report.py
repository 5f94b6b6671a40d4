"""A report on finished evaluations: the settings of every task, language bias, and which differences are shown."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import ReportConfig
from hbt_ray.job import main


def run(config: ReportConfig) -> dict[str, Any]:
    """Write the report, and show its overview."""
    from hbt_ray.storage import join
    from hbt_ray.study.evaluations import report_on
    from hbt_ray.study.report import overview
    from hbt_ray.terminal import console

    console().print(overview(report_on(config)))
    return {"out": config.out, "report": join(config.out, "index.html")}


if __name__ == "__main__":
    main(ReportConfig, run)
