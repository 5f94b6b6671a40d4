"""What every training worker does, top to bottom: encoder, engine, batches, steps, checkpoints."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.train
import torch
import torch.distributed as dist

from hbt_ray.batches.chunk import Slice
from hbt_ray.batches.order import Purpose, mix
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.shuffler import rank_slices
from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import TrainConfig, UserError
from hbt_ray.data.stores import Stores
from hbt_ray.model.encoder import Encoder
from hbt_ray.terminal import start_worker_logging
from hbt_ray.train import checkpoint, engine, problems, step, teacher_keys, validations
from hbt_ray.train.batch import Batch, Collator
from hbt_ray.train.encoders import trained_encoder, wanted
from hbt_ray.train.folder import RunFolder
from hbt_ray.train.gauges import Gauges
from hbt_ray.train.losses.objective import Objective
from hbt_ray.train.runlog import RunLog
from hbt_ray.train.schedule import learning_rate
from hbt_ray.train.teacher_vectors import TeacherVectors

log = logging.getLogger(__name__)
PREEMPTION_SECONDS = 5  # of training between two looks for a notice: a look is a barrier of some milliseconds


def loop(settings: dict[str, Any], blocks: Iterator[pa.Table]) -> str | None:
    """Train from the newest checkpoint to the last step, on this rank's blocks; `settings` is a dumped TrainConfig.

    Returns what is wrong with the store or the run, when all ranks ended early because of it, else None.
    """
    start_worker_logging()
    config = TrainConfig.model_validate(settings)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    problem = problems.told(config)
    if problem:
        return problem
    torch.set_num_threads(max(1, int(config.cpus_per_worker)))
    folder = RunFolder.of(config).checkpoints
    point = checkpoint.latest(folder)
    start = point.step if point else 0

    try:
        store = Stores(config.data)
        plan = Plan(store, config.batches)
        encoder = trained_encoder(config, store)
        encoder.prepare(config.engine.activation_checkpointing, config.engine.compile)
        model = step.Chunks(encoder, config.loss)
        objective = Objective(config.loss, config.length)
        teacher = None
        if teacher_keys.teacher_of(config):
            teacher = TeacherVectors(teacher_keys.indexes(config, store, wanted(config, store)))
        if point:
            checkpoint.check_same_model(point, model)
            point.load_weights(model)
    except UserError as error:
        return str(error)  # which all ranks find
    seed, identity = config.batches.seed, checkpoint.identity(model)
    about = {"plan_hash": plan.hash, "plan": plan.identity, "seed": seed, "model": identity}
    trainer = engine.build_engine(model, config, ranks)
    slices = rank_slices(blocks, plan, start, config.length, rank, ranks)
    made = collated(slices, encoder, config, wanted(config, store), trainer.device, teacher)
    batches = ahead(made, trainer.device)
    runlog = None
    if rank == 0:
        runlog = RunLog(config.out, start, config.length, config.report_every, config.name, config.loggers)
    gauges = Gauges(config.name, encoder, trainer.device)
    saver = checkpoint.Saver(folder, about, config.keep_checkpoints, partial(validations.needed, config))
    skipped = point.skipped if point else 0
    noticed = stopped = False
    unlooked = 0.0  # seconds since the last look for a notice of preemption, the same on all ranks

    while True:
        gauges.wait()
        try:
            part, batch = next(batches, (None, None))
        except UserError as error:
            return str(error)
        gauges.begin()
        if part is None or batch is None or stopped:
            break
        with problems.out_of_memory(config, part.step):
            if point and part.step == start:
                make_moments(trainer, batch, config.engine.gradcache)
                point.load_moments(trainer)
                point.release()
            rate = learning_rate(part.step, config.length, config.optimizer)
            engine.set_learning_rate(trainer, rate)
            loss, groups = step.backward(
                trainer, batch, partial(objective, labels=batch.labels, step=part.step), config.engine.gradcache
            )
            norm = engine.take_step(trainer)
        measured = gauges.end(loss, batch)
        saver.check()
        if runlog:
            runlog.add({**describe(plan, part, groups), "learning_rate": rate, "grad_norm": norm, **measured})
        if not (math.isfinite(measured["loss"]) and math.isfinite(norm)):
            problem = problems.not_finite(config, part, rank, measured["loss"], norm)
            skipped += 1
            if math.isfinite(norm) or skipped > config.max_bad_batches:  # with a finite norm, the step has been taken
                return problem
            if rank == 0:
                log.warning("%s; it is skipped (%d of --max-bad-batches %d)", problem, skipped, config.max_bad_batches)
        done = part.step + 1
        notice = False
        unlooked += measured["step_s"]
        if not noticed and unlooked >= PREEMPTION_SECONDS:
            notice = noticed = ray.train.get_preemption_info() is not None
            unlooked = 0.0
        due = validations.due(config, done)
        if done % config.checkpoint_every == 0 or done == config.length or notice or due:
            if runlog:
                runlog.flush()  # first: lines of steps that are trained again are dropped, missing ones would stay away
            validations.report_checkpoint(config, saver.wait(), rank)
            saver.save(trainer, done, skipped)
            if notice or due:  # there may be seconds left, or an evaluation waits
                validations.report_checkpoint(config, saver.wait(), rank)
            stopped = agreed_to_stop(config, runlog)
    validations.report_checkpoint(config, saver.wait(), rank)
    if runlog:
        runlog.close()
    return None


def collated(
    slices: Iterator[Slice],
    encoder: Encoder,
    config: TrainConfig,
    read: Wanted,
    device: torch.device,
    teacher: TeacherVectors | None = None,
) -> Iterator[tuple[Slice, Batch]]:
    """The slices, of which this was `read`, with their batches. Random numbers of a step depend on nothing before it,
    so that a resumed run draws the same."""
    rank = dist.get_rank()
    collate = Collator(encoder, read, device, config.engine.chunk_tokens, largest_of_ranks(), config.loss, teacher)
    for part in slices:
        yield part, collate(part, seed=int(mix(config.batches.seed, Purpose.DROPOUT, part.step, rank) >> np.uint64(2)))


def largest_of_ranks() -> Callable[[list[int]], list[int]]:
    """A function for `Collator`; on its own group of processes, since it runs beside training."""
    if dist.get_world_size() == 1:
        return list
    group = dist.new_group(backend="gloo")

    def largest(numbers: list[int]) -> list[int]:
        of_all = torch.tensor(numbers)
        dist.all_reduce(of_all, dist.ReduceOp.MAX, group=group)
        return of_all.tolist()

    return largest


def ahead(batches: Iterator[tuple[Slice, Batch]], device: torch.device) -> Iterator[tuple[Slice, Batch]]:
    """The same slices and batches; the next one is made in a thread meanwhile."""
    # a thread begins with the first GPU as its own, and would take memory there for every rank
    begin = partial(torch.cuda.set_device, device) if device.type == "cuda" else None
    with ThreadPoolExecutor(1, initializer=begin) as pool:
        coming = pool.submit(next, batches, None)
        while (found := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield found


def agreed_to_stop(config: TrainConfig, runlog: RunLog | None) -> bool:
    """Log what evaluations have found meanwhile; whether to stop, which rank 0 says. All ranks must ask."""
    if config.validation.task is None:
        return False
    answer = [False]
    if runlog:
        found = validations.read_evaluations(config)
        runlog.validated(found)
        answer = [validations.should_stop(config, found)]
    dist.broadcast_object_list(answer)
    return answer[0]


def describe(plan: Plan, part: Slice, groups: torch.Tensor) -> dict[str, Any]:
    """The log line of a step: what was planned, and a digest of the `groups` trained on, int64 [rows of all ranks],
    whichever rank had them."""
    return {
        "step": part.step,
        "time": time.time(),
        "stratum": part.stratum,
        "kind": plan.stratum(part.step).kind,
        "query_languages": part.query_languages,
        "passage_languages": part.passage_languages,
        "groups": hashlib.sha256(groups.sort().values.cpu().numpy().tobytes()).hexdigest()[:16],
    }


def make_moments(trainer: Any, batch: Batch, gradcache: bool) -> None:
    """Have the optimizer create its state: a step that changes no weight, since its learning rate is 0."""
    engine.set_learning_rate(trainer, 0.0)

    def nothing(*outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return sum((0.0 * output.sum() for output in outputs), torch.zeros(())), batch.labels.groups

    step.backward(trainer, batch, nothing, gradcache)
    engine.take_step(trainer)
