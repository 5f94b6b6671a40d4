"""`demo`: the whole road on the built-in world facts, for the three strategies side by side."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from hbt_ray import storage
from hbt_ray.config import (
    CompareConfig,
    DemoConfig,
    EncoderConfig,
    EncodingConfig,
    EngineConfig,
    EvaluateConfig,
    EvaluatedEncoder,
    InfoNCEConfig,
    OptimizerConfig,
    PlanConfig,
    Sample,
    TrainConfig,
)
from hbt_ray.data.sources import world_facts
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.study import report
from hbt_ray.study.compare import compare
from hbt_ray.study.paper import paper_claims
from hbt_ray.study.runs import Run
from hbt_ray.study.sample import prepare_sample
from hbt_ray.study.shown_best import with_tests
from hbt_ray.train import runlog
from hbt_ray.train.train import train

Strategy = Literal["x-x", "x-y", "hybrid"]
STRATEGIES: tuple[Strategy, ...] = ("x-x", "x-y", "hybrid")
TOKENS = 32  # of a text; more than most have, and padding is what the longest costs
# facts are short, and a model this small computes no faster in bf16; it learns the roles from the texts
ENCODER: dict[str, Any] = {
    "query_prefix": "",
    "passage_prefix": "",
    "max_query_tokens": TOKENS,
    "max_passage_tokens": TOKENS,
    "dropout": 0.0,
    "precision": "fp32",
}
log = logging.getLogger(__name__)


def demo(config: DemoConfig) -> dict[str, Any]:
    """Prepare, train, encode, index, evaluate and report.

    Returns: `report`, where the page is; `runs`, the three; and `claims`, what they show of the paper's.

    Raises:
        UserError: a language is none of the corpus, or a setting does not fit the others.
    """
    out = config.out
    store, task = storage.join(out, "store"), storage.join(out, "task")
    log.info("prepare: world facts in %s to a stream store", " ".join(config.languages))
    sample = Sample(languages=config.languages, aligned=config.aligned)
    prepare_sample(sample, store, storage.join(out, "world-facts", "train.parquet"), config.seed)
    world_facts.write_task(task, config.languages)
    # A run is evaluated while the next one trains: much of either is waiting for processes to start.
    with ThreadPoolExecutor(1) as beside:
        evaluations = []
        for name in STRATEGIES:
            folder = storage.join(out, name)
            log.info("%s: train", name)
            model = train(_train_config(config, store, folder, name))["model"]
            evaluations.append(beside.submit(_evaluate, name, model, task, folder))
    runs = [
        Run(name, evaluation.result(), runlog.read_metrics(storage.join(out, name)))
        for name, evaluation in zip(STRATEGIES, evaluations, strict=True)
    ]
    log.info("compare and report")
    folders = tuple(f"{name}={storage.join(out, name, 'evaluation')}" for name in STRATEGIES)
    found = compare(CompareConfig(runs=folders, out=storage.join(out, "comparison")))
    runs = with_tests(runs, {found["task"]: found})
    shown = paper_claims(runs, found)
    title = "Hybrid batch training on world facts"
    report.write_page(storage.join(out, "report"), title, runs, {found["task"]: found}, shown)
    return {"report": storage.join(out, "report", "index.html"), "runs": runs, "claims": shown}


def _train_config(config: DemoConfig, store: str, out: str, name: Strategy) -> TrainConfig:
    return TrainConfig(
        data=store,
        out=out,
        name=name,
        steps=config.steps,
        checkpoint_every=config.steps,
        report_every=max(1, config.steps // 4),
        workers=config.workers,
        engine=EngineConfig(zero_stage=config.zero_stage),
        encoder=EncoderConfig(model="nano", **ENCODER),
        batches=PlanConfig(strategy=name, batch_size=config.batch_size, seed=config.seed),
        optimizer=OptimizerConfig(learning_rate=config.learning_rate),
        loss=(InfoNCEConfig(temperature=0.05),),
    )


def _evaluate(name: Strategy, model: str, task: str, folder: str) -> dict[str, Any]:
    log.info("%s: encode, index, evaluate", name)
    return evaluate(
        EvaluateConfig(
            task="world-facts",
            data=task,
            out=storage.join(folder, "evaluation"),
            encoder=EvaluatedEncoder(model=model, **ENCODER),
            # what trains meanwhile has reserved the other CPUs; and few processes, which take longer to start than such
            # texts to tokenise
            encoding=EncodingConfig(dtype="float32", cpus_per_actor=0.5, tokenizers=1),
        )
    )
