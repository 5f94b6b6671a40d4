"""A tiny training run that several tests compare: one prepared store, and its runs, each trained once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hbt_ray.config import EncoderConfig, EngineConfig, Input, OptimizerConfig, PlanConfig, PrepareConfig, TrainConfig
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.train import runlog
from hbt_ray.train.train import train

CHUNKS = {"gradcache": True, "chunk_tokens": 60}
STEPS = 20
ALONE = (1, EngineConfig(zero_stage=0))
ENGINES = [
    (2, EngineConfig(zero_stage=2, activation_checkpointing=True)),
    (2, EngineConfig(zero_stage=3, **CHUNKS)),
    (1, EngineConfig(zero_stage=2, **CHUNKS)),
    (4, EngineConfig(zero_stage=1, **CHUNKS)),
]


def settings(store: str, out: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(
        data=store,
        out=str(out),
        steps=STEPS,
        checkpoint_every=4,
        report_every=4,
        encoder=EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=24, precision="fp32", dropout=0.0),
        batches=PlanConfig(batch_size=8),
        optimizer=OptimizerConfig(learning_rate=1e-3),
    )
    return base.model_copy(update=changes)


def losses(out: Path) -> list[float]:
    lines = runlog.read_metrics(str(out))
    assert [line["step"] for line in lines] == list(range(len(lines)))
    return [line["loss"] for line in lines]


def same_run(out: Path, finished: Path) -> None:
    """The step logs have the same batches, every step once, and the same losses."""
    expected = runlog.read_metrics(str(finished))
    assert [line["groups"] for line in runlog.read_metrics(str(out))] == [line["groups"] for line in expected]
    np.testing.assert_allclose(losses(out), losses(finished), atol=1e-4)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> str:
    folder = tmp_path_factory.mktemp("train")
    pq.write_table(world_facts.fact_rows("train").slice(0, 1200), folder / "facts.parquet")
    config = PrepareConfig(
        source="parallel",
        input=(Input(name="facts", uri=str(folder / "facts.parquet")),),
        tokenizer="train:1500",
        out=str(folder / "store"),
        partitions=1,
    )
    return str(prepare(config)["out"])


@pytest.fixture(scope="session")
def trained(store: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, EngineConfig], Path]:
    """The folder of an uninterrupted run, by number of workers and engine; each is trained once."""
    folders: dict[tuple[int, EngineConfig], Path] = {}

    def run(workers: int, engine: EngineConfig) -> Path:
        if (workers, engine) not in folders:
            out = folders[workers, engine] = tmp_path_factory.mktemp("trained")
            assert train(settings(store, out, workers=workers, engine=engine))["model"] == f"{out}/model"
        return folders[workers, engine]

    return run


@pytest.fixture(scope="session")
def finished(trained: Callable[[int, EngineConfig], Path]) -> Path:
    """With one worker, without ZeRO or GradCache."""
    return trained(*ALONE)
