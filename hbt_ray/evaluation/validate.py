"""The evaluation of a checkpoint while training goes on: the same as `evaluate`'s, on a small task."""

from __future__ import annotations

import tempfile
from typing import Any

from hbt_ray import storage
from hbt_ray.config import EvaluateConfig, EvaluatedEncoder, TrainConfig, UserError
from hbt_ray.data.stores import Stores
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.train import checkpoint, validations
from hbt_ray.train.encoders import trained_encoder
from hbt_ray.train.folder import RunFolder
from hbt_ray.train.step import Chunks


def validate(_: Any, settings: dict[str, Any], step: int) -> dict[str, float]:
    """Evaluate the checkpoint after `step` steps of the run with these `settings`, a dumped TrainConfig.

    Returns mAP by setting, `mean`, their mean, and `rank_distance` where the task has it; leaves them for
    `train/validations.py`.

    Raises:
        UserError: the task does not have the setting that `--validation.metric` names.
    """
    config = TrainConfig.model_validate(settings)
    assert config.validation.task is not None
    point = checkpoint.at(RunFolder.of(config).checkpoints, step)
    encoder = trained_encoder(config, Stores(config.data))
    point.load_weights(Chunks(encoder, config.loss))
    point.release()
    done = validations.uri_of(config, step).removesuffix(".json")
    with tempfile.TemporaryDirectory() as folder:
        encoder.export(folder)
        storage.upload(folder, storage.join(done, "model"))
    found = evaluate(
        EvaluateConfig(
            task=config.validation.task,
            data=config.validation.data,
            out=storage.join(done, "evaluation"),
            encoder=EvaluatedEncoder(
                model=storage.join(done, "model"),
                precision=config.encoder.precision,
                trust_remote_code=config.encoder.trust_remote_code,
            ),
            encoding=config.validation.encoding,
        )
    )["settings"]
    numbers = {setting: values["map"] for setting, values in found.items() if values["map"] is not None}
    numbers["mean"] = sum(numbers.values()) / len(numbers)
    if config.validation.metric not in numbers:
        raise UserError(f"--validation.metric: {config.validation.task} has {', '.join(numbers)} only")
    if (distance := found.get("multilingual", {}).get("rank_distance")) is not None:
        numbers["rank_distance"] = distance
    storage.clear(done)
    storage.write_json(validations.uri_of(config, step), {"step": step, **numbers})
    return numbers
