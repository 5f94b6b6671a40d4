"""A job, or a road of several, on a Ray cluster: submit it, follow it, end with its own exit code."""

from __future__ import annotations

import sys
from typing import Any

from hbt_ray.config import SubmitConfig
from hbt_ray.job import main


def run(config: SubmitConfig, command: list[str]) -> dict[str, Any]:
    """Submit the command, or the road that the settings name."""
    from hbt_ray.submission.submit import submit

    return submit(config, command)


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    job = sys.argv[split + 1 :]
    main(SubmitConfig, lambda config: run(config, job), sys.argv[1:split], needs_ray=lambda _: False)
