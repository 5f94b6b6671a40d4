"""Average models, or the checkpoints of a run, into one model."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import SoupConfig
from hbt_ray.job import main


def run(config: SoupConfig) -> dict[str, Any]:
    """Average."""
    from hbt_ray.train.soup import soup

    return soup(config)


if __name__ == "__main__":
    main(SoupConfig, run, needs_ray=lambda _: False)
