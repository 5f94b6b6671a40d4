"""Source files to a stream store: check, tokenise once, shuffle."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import PrepareConfig
from hbt_ray.job import main


def run(config: PrepareConfig) -> dict[str, Any]:
    """Prepare; the tables of what the store holds are printed on the way."""
    from hbt_ray.data.prepare import prepare

    return prepare(config)


if __name__ == "__main__":
    main(PrepareConfig, run)
