"""Where a training worker begins. Ray's controller imports this module to hand it on, so it is light."""

from __future__ import annotations

from typing import Any


def work(settings: dict[str, Any]) -> str | None:
    """Run `loop` in this worker."""
    from hbt_ray.train.loop import loop

    return loop(settings)
