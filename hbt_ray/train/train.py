"""`train`: stream store to model, on Ray Train and DeepSpeed."""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from typing import Any

from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from hbt_ray import storage
from hbt_ray.batches import forecast, shuffler
from hbt_ray.batches.plan import Plan
from hbt_ray.config import TrainConfig, UserError
from hbt_ray.data import tokenizer
from hbt_ray.data.streams import StreamStore
from hbt_ray.train import checkpoint
from hbt_ray.train.contrastive import Contrastive
from hbt_ray.train.encoder import Encoder, build
from hbt_ray.train.worker import work

# settings a run may change when it resumes: none of them decides what is learned
FREE = {"out", "dry_run", "workers", "max_workers", "gpus_per_worker", "cpus_per_worker", "zero_stage"} | {
    "max_failures",
    "checkpoint_every",
    "keep_checkpoints",
    "report_every",
}
log = logging.getLogger(__name__)


def train(config: TrainConfig) -> dict[str, Any]:
    """Train, or go on with the run of this name; returns `{"model", "steps", "plan_hash"}`. A finished run is left.

    With `dry_run`, print what it would draw and return `{"dry_run", "steps", "plan_hash", "warnings"}`.

    Raises:
        UserError: store, model or batch size do not fit, a stream file is damaged, or `out` holds another run.
    """
    encoder_config = config.encoder.model_copy(update={"model": storage.model_name(config.encoder.model)})
    config = config.model_copy(
        update={"data": storage.absolute(config.data), "out": storage.absolute(config.out), "encoder": encoder_config}
    )
    shuffler.check_workers(config.batches.batch_size, config.workers, config.max_workers)
    store = StreamStore(config.data)
    plan = Plan(store, config.batches)
    if config.epochs is not None:
        config = config.model_copy(update={"steps": plan.steps(config.epochs), "epochs": None})
    if config.dry_run:
        return _dry_run(config, store, plan)
    store.check_files()
    encoder = build(config.encoder, store.tokenizer_uri, config.batches.seed)
    _check_tokenizer(encoder, store)
    encoder.frame("query"), encoder.frame("passage")
    folder = checkpoint.folder_of(config)
    point = checkpoint.latest(folder)
    if point:
        checkpoint.check(point, plan.identity, plan.hash)
    storage.claim(config.out, "train", {**config.model_dump(exclude=FREE), "plan_hash": plan.hash})
    if not storage.committed(config.out):
        if config.length > (point.step if point else 0):
            log.info("training from step %d of %d, plan %s", point.step if point else 0, config.length, plan.hash)
            _fit(config)
        _export(config, encoder, plan)
    return {"model": storage.join(config.out, "model"), "steps": config.length, "plan_hash": plan.hash}


def _dry_run(config: TrainConfig, store: StreamStore, plan: Plan) -> dict[str, Any]:
    limits = (config.encoder.max_query_tokens, config.encoder.max_passage_tokens)
    expected = forecast.forecast(store, plan, config.length, config.workers, limits)
    forecast.show(expected)
    return {"dry_run": True, "steps": config.length, "plan_hash": plan.hash, "warnings": expected.warnings}


def _fit(config: TrainConfig) -> None:
    gpus = {"GPU": config.gpus_per_worker} if config.gpus_per_worker else {}
    filesystem, path = storage.arrow_filesystem(storage.join(config.out, "ray_train"))
    trainer = TorchTrainer(
        work,
        train_loop_config=config.model_dump(),
        scaling_config=ScalingConfig(
            num_workers=config.workers if config.max_workers is None else (config.workers, config.max_workers),
            use_gpu=config.gpus_per_worker > 0,
            resources_per_worker={"CPU": config.cpus_per_worker, **gpus},
        ),
        run_config=RunConfig(
            name=config.name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=config.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
        datasets={shuffler.DATASET: shuffler.placeholder},
        dataset_config=shuffler.HybridBatches(
            config.data, config.batches, config.length, partial(checkpoint.next_step, checkpoint.folder_of(config))
        ),
    )
    problem = trainer.fit().return_value
    if problem is not None:
        raise UserError(problem)


def _export(config: TrainConfig, encoder: Encoder, plan: Plan) -> None:
    """Write the model from the last checkpoint (or untrained, for no steps), then the run's manifest."""
    if config.length > 0:
        point = checkpoint.latest(checkpoint.folder_of(config))
        assert point is not None and point.step == config.length
        point.load_weights(Contrastive(encoder, config.optimizer.temperature))
    with tempfile.TemporaryDirectory() as folder:
        encoder.export(folder)
        storage.upload(folder, storage.join(config.out, "model"))
    storage.commit(config.out, "model", {"steps": config.length, "plan_hash": plan.hash, "plan": plan.identity})


def _check_tokenizer(encoder: Encoder, store: StreamStore) -> None:
    if tokenizer.fingerprint(encoder.tokenizer) != store.tokenizer_fingerprint:
        raise UserError(
            f"{store.uri} was tokenised with another tokenizer than the model's: run prepare with the model's tokenizer"
        )
