"""`train`: stream store to model, on Ray Train and DeepSpeed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError, ValidationConfig
from ray.train.torch import TorchTrainer

from hbt_ray import storage
from hbt_ray.batches import shuffler
from hbt_ray.batches.plan import Plan
from hbt_ray.config import TrainConfig, UserError
from hbt_ray.data.stores import Stores
from hbt_ray.model.build import local_models
from hbt_ray.model.limits import model_limits
from hbt_ray.model.prompts import find_prompts, tell
from hbt_ray.train import checkpoint, engine, problems, sinks, teacher_keys, validations
from hbt_ray.train.card import model_card
from hbt_ray.train.encoders import check_lengths, trained_encoder, wanted, with_prefixes
from hbt_ray.train.folder import RunFolder, complete_steps, next_step
from hbt_ray.train.losses.check import check_losses
from hbt_ray.train.losses.objective import Objective
from hbt_ray.train.runlog import RunLog
from hbt_ray.train.schedule import learning_rate
from hbt_ray.train.step import Chunks
from hbt_ray.train.worker import validate, work

# what it makes in its folder
OWNS = ("checkpoints", "ray_train", "tensorboard", "metrics.jsonl", "teacher", "adapter", "model", "manifest.json")
log = logging.getLogger(__name__)


def train(config: TrainConfig) -> dict[str, Any]:
    """Train, or go on with the run of this name; returns `{"model", "steps", "plan_hash"}`. A finished run is left.

    With `--validation.task`, checkpoints are evaluated (`evaluation/validate.py`), and the model and `steps` are those
    of the best one.

    With `dry_run`, print what it would draw and return `{"dry_run", "steps", "plan_hash", "warnings", "memory"}`, the
    last by ZeRO stage [GiB of a worker].

    Raises:
        UserError: store, model or batch size do not fit, a stream file is damaged, `out` holds another run, or a
            logger is not installed.
    """
    sinks.check_loggers(config.loggers)
    storage.refuse_overlap(config.out, [*(one.uri for one in config.data), *local_models(config.encoder)])
    model_limits(config.encoder)
    tell(find_prompts(config.encoder).notes)
    shuffler.check_workers(config.batches.batch_size, config.workers, config.max_workers)
    engine.deepspeed_settings(config, config.workers)
    store = Stores(config.data)
    check_lengths(config, store)
    config = config.model_copy(update={"data": store.data})  # workers must find what the plan was made of
    plan = Plan(store, config.batches)
    if config.epochs is not None:
        config = config.model_copy(update={"steps": plan.steps(config.epochs), "epochs": None})
    check_losses(config.loss, store, plan)
    Objective(config.loss, config.length)  # which says whether a loss of the user's can be had
    if config.dry_run:
        from hbt_ray.train.dry_run import dry_run  # here, since it imports what makes models

        return dry_run(config, store, plan)
    store.check_files()
    point = checkpoint.latest(RunFolder.of(config).checkpoints)
    if point:
        checkpoint.check_same_plan(point, plan.identity, plan.hash)
    run = {**config.model_dump(exclude=set(config.FREE)), "plan_hash": plan.hash}
    _lengthen(config, run)
    with storage.claimed(config.out, "train", run, OWNS, keeps=("checkpoints",)):
        if not storage.committed(config.out):
            told = with_prefixes(config) if store.has_texts else config
            if teacher_keys.teacher_of(config):
                told = teacher_keys.pinned(told)
                teacher_keys.build(told, store, plan, wanted(told, store))
            _validate_missed(told)
            if config.length > (point.step if point else 0):
                log.info("training from step %d of %d, plan %s", point.step if point else 0, config.length, plan.hash)
                _fit(told, store)
            _export(config, store, plan)
    steps = storage.read_manifest(config.out, "model")["steps"]
    return {"model": RunFolder.of(config).model, "steps": steps, "plan_hash": plan.hash}


def _lengthen(config: TrainConfig, run: Mapping[str, Any]) -> None:
    """Have a run whose steps are all done go on with more of them, where that alone has been changed."""
    folder, before = RunFolder.of(config).checkpoints, 0

    def follows(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
        nonlocal before
        before = int(there.get("steps") or 0)
        done = storage.committed(config.out) or before in complete_steps(folder)
        return 0 < before < config.length and done and {**there, "steps": here["steps"]} == here

    if storage.take_over(config.out, "train", run, follows):
        log.info(
            "%s: a run of %d steps is done there and goes on to %d: the learning rate, which had fallen to 0, is %.3g"
            " again, as in a run of %d; such a run would have had other rates in the steps that are done",
            config.out, before, config.length, learning_rate(before, config.length, config.optimizer), config.length,
        )  # fmt: skip


def _validate_missed(config: TrainConfig) -> None:
    """Evaluate the checkpoints whose evaluation ended with an earlier driver: the best model is chosen among all."""
    task = ray.remote(num_cpus=0)(validate)
    for step in validations.missed(config):
        log.info("evaluating the checkpoint of step %d, which an earlier driver left without", step)
        ray.get(task.remote(None, config.model_dump(mode="json"), step))


def _fit(config: TrainConfig, store: Stores) -> None:
    gpus = {"GPU": config.gpus_per_worker} if config.gpus_per_worker else {}
    validating = None
    if config.validation.task is not None:
        validating = ValidationConfig(validate, ray_remote_kwargs={"num_cpus": 0})
    filesystem, path = storage.arrow_filesystem(RunFolder.of(config).ray_train)
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
        validation_config=validating,
        datasets={shuffler.DATASET: shuffler.placeholder},
        dataset_config=shuffler.HybridBatches(
            config.data,
            config.batches,
            config.length,
            partial(next_step, RunFolder.of(config).checkpoints),
            wanted(config, store),
        ),
    )
    problems.forget(config)
    try:
        problem = trainer.fit().return_value
    except TrainingFailedError:
        problem = problems.told(config)
        if problem is None:
            raise
    if problem is not None:
        raise UserError(problem)


def _export(config: TrainConfig, store: Stores, plan: Plan) -> None:
    """Write the model from the best checkpoint, or the last (or untrained, for no steps), then the run's manifest."""
    encoder = trained_encoder(config, store)
    steps = config.length
    found = validations.read_evaluations(config)
    if found:
        log = RunLog(config.out, config.length, config.length, config.report_every, config.name, config.loggers)
        log.validated(found)  # the last ones have come after the last step
        log.close()
    if config.length > 0:
        point = checkpoint.latest(RunFolder.of(config).checkpoints)
        best = validations.best_step(config, found)
        if best is not None:
            point = checkpoint.at(RunFolder.of(config).checkpoints, best)
        assert point is not None
        point.load_weights(Chunks(encoder, config.loss))
        point.release()
        steps = point.step
    with tempfile.TemporaryDirectory() as folder:
        if encoder.save_adapter(folder, config.encoder.model):
            storage.upload(folder, RunFolder.of(config).adapter)
    with tempfile.TemporaryDirectory() as folder:
        encoder.export(folder)  # which merges adapters
        measures = next((line for line in found if line["step"] == steps), None)
        card = model_card(config, store, plan, encoder, steps, measures)
        Path(folder, "README.md").write_text(card, encoding="utf-8")
        storage.upload(folder, RunFolder.of(config).model)
    parameters = sum(weights.numel() for weights in encoder.model.parameters())
    about = {"steps": steps, "plan_hash": plan.hash, "plan": plan.identity, "parameters": parameters}
    storage.commit(config.out, "model", about)
