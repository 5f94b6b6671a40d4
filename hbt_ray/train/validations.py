"""What the evaluations beside a training run found, which checkpoint is the best, and when to stop.

Ray Train runs them as tasks of their own; each leaves one JSON file. `evaluation/validate.py` says what they do.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray.train
from ray.train import Checkpoint, CheckpointUploadMode, ValidationTaskConfig

from hbt_ray import storage
from hbt_ray.config import TrainConfig
from hbt_ray.train.folder import RunFolder, complete_steps


def due(config: TrainConfig, step: int) -> bool:
    """Whether the checkpoint of this step is evaluated."""
    return config.validation.task is not None and (step % config.validation.every == 0 or step == config.length)


def uri_of(config: TrainConfig, step: int) -> str:
    """The file with what was found after `step` steps."""
    return storage.join(RunFolder.of(config).evaluations, f"step-{step:09d}.json")


def read_evaluations(config: TrainConfig) -> list[dict[str, Any]]:
    """All that has been found so far: `step` and the numbers, by step; none when nothing is evaluated."""
    if config.validation.task is None:
        return []
    names = sorted(name for name in storage.sizes(RunFolder.of(config).evaluations) if name.endswith(".json"))
    return [storage.read_json(storage.join(RunFolder.of(config).evaluations, name)) for name in names]


def best_step(config: TrainConfig, found: Sequence[dict[str, Any]]) -> int | None:
    """The step whose `--validation.metric` is highest, the earliest of equals."""
    ranked = [(line[config.validation.metric], -line["step"]) for line in found]
    return -max(ranked)[1] if ranked else None


def should_stop(config: TrainConfig, found: Sequence[dict[str, Any]]) -> bool:
    """Whether as many evaluations as `--validation.patience` have followed the best without reaching it."""
    step = best_step(config, found)
    if config.validation.patience is None or step is None:
        return False
    return sum(line["step"] > step for line in found) >= config.validation.patience


def needed(config: TrainConfig, steps: Sequence[int]) -> set[int]:
    """The steps among `steps` whose checkpoints have to stay: the best one and those that wait for their evaluation."""
    found = read_evaluations(config)
    done = {line["step"] for line in found} - {best_step(config, found)}
    return {step for step in steps if due(config, step) and step not in done}


def missed(config: TrainConfig) -> list[int]:
    """The steps whose checkpoint waits for an evaluation, which ended with the driver that began it."""
    if config.validation.task is None:
        return []
    done = {line["step"] for line in read_evaluations(config)}
    steps = complete_steps(RunFolder.of(config).checkpoints)
    return [step for step in steps if due(config, step) and step not in done]


def report_checkpoint(config: TrainConfig, step: int | None, rank: int) -> None:
    """Tell Ray Train of the new checkpoint, if there is one, and have it evaluated when that is due; all ranks must."""
    if step is None:
        return
    if not due(config, step) or rank:
        ray.train.report({"step": step})
        return
    with tempfile.TemporaryDirectory() as folder:  # Ray wants a checkpoint of its own: it gets the place of ours
        Path(folder, "checkpoint.json").write_text(json.dumps({"step": step, "out": config.out}))
        ray.train.report(
            {"step": step},
            checkpoint=Checkpoint.from_directory(folder),
            checkpoint_upload_mode=CheckpointUploadMode.SYNC,
            validation=ValidationTaskConfig(fn_kwargs={"settings": config.model_dump(mode="json"), "step": step}),
        )
