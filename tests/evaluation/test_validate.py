"""Evaluations beside a training run: real Ray Train, a real task, the best checkpoint becomes the model."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from hbt_ray import storage
from hbt_ray.config import CheckpointEvaluation, EncoderConfig, OptimizerConfig, PlanConfig, PrepareConfig, TrainConfig
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.model.build import build_encoder
from hbt_ray.train import checkpoint, runlog, validations
from hbt_ray.train.folder import RunFolder
from hbt_ray.train.step import Chunks
from hbt_ray.train.train import train

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """With a store and a task."""
    path = tmp_path_factory.mktemp("validate")
    prepare(PrepareConfig(source="world-facts", tokenizer="train:1500", out=f"{path}/store", partitions=1))
    world_facts.write_task(f"{path}/task", ("de", "zh"))
    return path


def settings(folder: Path, name: str, steps: int, validation: dict[str, Any]) -> TrainConfig:
    return TrainConfig(
        data=f"{folder}/store",
        out=f"{folder}/{name}",
        steps=steps,
        checkpoint_every=4,
        keep_checkpoints=1,
        encoder=EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=24, precision="fp32", dropout=0.0),
        batches=PlanConfig(batch_size=8),
        optimizer=OptimizerConfig(learning_rate=0.5, warmup=0.0),  # so large that it only gets worse
        validation=CheckpointEvaluation(task="world-facts", data=f"{folder}/task", **validation),
    )


@pytest.mark.long
def test_the_best_checkpoint_becomes_the_model(folder: Path) -> None:
    config = settings(folder, "best", 12, {"every": 6})
    done = train(config)
    assert [line["step"] for line in runlog.read_metrics(config.out)] == list(range(12))
    lines = [json.loads(line) for line in (folder / "best" / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [6, 12]
    assert all({"monolingual", "cross-lingual", "multilingual", "mean", "rank_distance"} <= set(line) for line in lines)
    best = max(lines, key=lambda line: (line["mean"], -line["step"]))["step"]
    assert done["steps"] == best

    model = build_encoder(EncoderConfig(model=done["model"], precision="fp32"))
    wanted = build_encoder(config.encoder, f"{folder}/store/tokenizer")
    checkpoint.at(RunFolder.of(config).checkpoints, best).load_weights(Chunks(wanted))
    for (name, weight), (_, other) in zip(model.named_parameters(), wanted.named_parameters(), strict=True):
        assert torch.equal(weight, other), name
    assert {path.name for path in (folder / "best" / "checkpoints" / "run").iterdir()} >= {f"step-{best:09d}"}

    # the driver died while the best was being evaluated
    shutil.rmtree(folder / "best" / "model")
    (folder / "best" / "manifest.json").unlink()
    left = Path(validations.uri_of(config, best))
    before = json.loads(left.read_text())
    left.unlink()
    assert validations.missed(config) == [best]
    assert train(config) == done
    assert json.loads(left.read_text()) == before


@pytest.mark.long
def test_training_stops_when_it_gets_no_better(folder: Path) -> None:
    config = settings(folder, "stopped", 400, {"every": 1000, "patience": 1})
    for step, mean in ((4, 0.5), (8, 0.4)):  # of an attempt before
        storage.write_json(validations.uri_of(config, step), {"step": step, "mean": mean})
    assert train(config)["steps"] == 4
    assert len(runlog.read_metrics(config.out)) == 4


def test_stopping_waits_for_the_patience(tmp_path: Path) -> None:
    config = partial(TrainConfig, data="/none", out=str(tmp_path), steps=100, encoder=EncoderConfig(model="tiny"))
    found = [{"step": step, "mean": mean} for step, mean in ((10, 0.2), (20, 0.5), (30, 0.5), (40, 0.4))]
    assert validations.best_step(config(), found) == 20
    for patience, stops in ((None, False), (2, True), (3, False)):
        assert (
            validations.should_stop(config(validation=CheckpointEvaluation(task="x", patience=patience)), found)
            is stops
        )
    assert not validations.should_stop(config(validation=CheckpointEvaluation(task="x", patience=1)), [])
