"""Where workers and validations begin. Ray's controller imports this module to hand it on, so it is light."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Evaluation stands above training, which must not import it: it is found by its name, in the task that validates.
VALIDATION = "hbt_ray.evaluation.validate"


def work(settings: dict[str, Any]) -> str | None:
    """Run `loop` in this worker. Its batches are asked for before torch, or what makes a model, is imported."""
    import ray.train

    from hbt_ray.batches import shuffler

    blocks = shuffler.blocks(ray.train.get_dataset_shard(shuffler.DATASET))
    from hbt_ray.train.loop import loop

    return loop(settings, blocks)


def validate(checkpoint: Any, settings: dict[str, Any], step: int) -> dict[str, float]:
    """Evaluate the checkpoint after `step` steps, as `evaluation/validate.py` does."""
    return import_module(VALIDATION).validate(checkpoint, settings, step)
