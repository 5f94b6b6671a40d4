"""`demo`: the whole road on the built-in world facts, for the three strategies side by side."""

from __future__ import annotations

import logging
from typing import Any, Literal

from hbt_ray import storage
from hbt_ray.config import (
    CompareConfig,
    DemoConfig,
    EncoderConfig,
    EncodingConfig,
    EngineConfig,
    EvaluateConfig,
    OptimizerConfig,
    PlanConfig,
    PrepareConfig,
    TrainConfig,
)
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.study import report
from hbt_ray.study.compare import compare
from hbt_ray.study.runs import Run
from hbt_ray.train import runlog
from hbt_ray.train.train import train

Strategy = Literal["x-x", "x-y", "hybrid"]
STRATEGIES: tuple[Strategy, ...] = ("x-x", "x-y", "hybrid")
log = logging.getLogger(__name__)


def demo(config: DemoConfig) -> dict[str, Any]:
    """Prepare, train, encode, index, evaluate and report; returns where the report is and its headline figures."""
    out = config.out
    store, task = storage.join(out, "store"), storage.join(out, "task")
    log.info("1. prepare: world facts to a stream store")
    prepare(PrepareConfig(source="world-facts", tokenizer="train:6000", out=store, partitions=2, seed=config.seed))
    world_facts.write_task(task)
    runs = []
    for number, name in enumerate(STRATEGIES, start=2):
        log.info("%d. %s: train, encode, index, evaluate", number, name)
        folder = storage.join(out, name)
        model = train(_train_config(config, store, folder, name))["model"]
        results = evaluate(
            EvaluateConfig(
                task="world-facts",
                data=task,
                out=storage.join(folder, "evaluation"),
                encoder=EncoderConfig(model=model),
                encoding=EncodingConfig(dtype="float32"),
            )
        )
        runs.append(Run(name, results, runlog.read_metrics(folder)))
    folders = tuple(f"{name}={storage.join(out, name, 'evaluation')}" for name in STRATEGIES)
    found = compare(CompareConfig(runs=folders, out=storage.join(out, "comparison")))
    report.write_page(storage.join(out, "report"), "Hybrid batch training on world facts", runs, {found["task"]: found})
    return {"report": storage.join(out, "report", "index.html"), "runs": runs}


def _train_config(config: DemoConfig, store: str, out: str, name: Strategy) -> TrainConfig:
    return TrainConfig(
        data=store,
        out=out,
        name=name,
        steps=config.steps,
        workers=config.workers,
        engine=EngineConfig(zero_stage=config.zero_stage),
        encoder=EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=32, dropout=0.0),
        batches=PlanConfig(
            strategy=name,
            batch_size=config.batch_size,
            seed=config.seed,
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3, temperature=0.05),
    )
