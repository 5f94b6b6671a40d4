"""Source files to a stream store: check, tokenise once, shuffle."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import PrepareConfig
from hbt_ray.job import main


def run(config: PrepareConfig) -> dict[str, Any]:
    """Prepare, or show what would be read; the tables of what the store holds are printed on the way."""
    if config.inspect is not None:
        from hbt_ray.data.inspect import inspect

        return inspect(config)
    from hbt_ray.data.prepare import prepare

    if not config.exclude:
        return prepare(config)
    from hbt_ray.evaluation.task_items import task_items

    return prepare(config, excluded=task_items(config.exclude))


if __name__ == "__main__":
    main(PrepareConfig, run, needs_ray=lambda config: config.inspect is None)
