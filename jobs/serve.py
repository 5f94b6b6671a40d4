"""Serve collections and models over HTTP, with a page to ask them, until the job is stopped."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import ServeConfig
from hbt_ray.job import main


def run(config: ServeConfig) -> dict[str, Any]:
    """Serve."""
    from hbt_ray.search.serving.server import run_server

    return run_server(config)


if __name__ == "__main__":
    main(ServeConfig, run)
