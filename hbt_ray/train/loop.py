"""What every training worker does, top to bottom: encoder, engine, slices, steps, checkpoints."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import torch
import torch.distributed as dist

from hbt_ray.batches.chunk import Slice
from hbt_ray.batches.order import mix
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.shuffler import DATASET, rank_slices
from hbt_ray.config import OptimizerConfig, TrainConfig, UserError
from hbt_ray.data.streams import StreamStore
from hbt_ray.train import checkpoint
from hbt_ray.train.batch import Collator
from hbt_ray.train.contrastive import Contrastive
from hbt_ray.train.encoder import build
from hbt_ray.train.gauges import Gauges
from hbt_ray.train.runlog import RunLog


def loop(settings: dict[str, Any]) -> str | None:
    """Train from the newest checkpoint to the last step; `settings` is a dumped TrainConfig.

    Returns what is wrong with the store, when all ranks ended early because of it, else None.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    # gathers that torch 2.13 renames: the old names also exist in the older torch of many GPU images
    warnings.filterwarnings("ignore", message=".*(all_gather|reduce_scatter).*", category=FutureWarning)
    config = TrainConfig.model_validate(settings)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.set_num_threads(max(1, int(config.cpus_per_worker)))
    store = StreamStore(config.data)
    plan = Plan(store, config.batches)
    folder = checkpoint.folder_of(config)
    point = checkpoint.latest(folder)
    start = point.step if point else 0

    encoder = build(config.encoder, store.tokenizer_uri, config.batches.seed)
    model = Contrastive(encoder, config.optimizer.temperature)
    if point:
        point.load_weights(model)
    engine = _engine(model, config, ranks)
    collate = Collator(encoder, config.optimizer.hard_negatives, engine.device)
    slices = rank_slices(ray.train.get_dataset_shard(DATASET), plan, start, config.length, rank, ranks)
    runlog = RunLog(config.out, start, config.length, config.report_every) if rank == 0 else None
    gauges = Gauges(config.name, rank, ranks, engine.device)

    while True:
        gauges.wait()
        try:
            part = next(slices, None)
        except UserError as error:
            return str(error)
        gauges.begin()
        if part is None:
            break
        inputs = collate(part)
        if point and part.step == start:
            _make_moments(engine, inputs)
            point.load_moments(engine)
        # random numbers of a step depend on nothing before it, so a resumed run draws the same
        torch.manual_seed(int(mix(config.batches.seed, 4, part.step, rank) >> np.uint64(1)))
        rate = learning_rate(part.step, config.length, config.optimizer)
        _set_learning_rate(engine, rate)
        loss, groups = engine(inputs)
        engine.backward(loss)
        engine.step()
        measured = gauges.end(loss, inputs)
        if runlog:
            runlog.add(
                {
                    **describe(plan, part, groups),
                    "learning_rate": rate,
                    "grad_norm": float(engine.get_global_grad_norm() or 0.0),
                    **measured,
                }
            )
        done = part.step + 1
        if done % config.checkpoint_every == 0 or done == config.length:
            about = {"plan_hash": plan.hash, "plan": plan.identity, "seed": config.batches.seed}
            if runlog:
                runlog.flush()  # first: lines of steps that are trained again are dropped, missing ones would stay away
            checkpoint.save(engine, folder, done, about, config.keep_checkpoints)
            ray.train.report({"step": done, "loss": measured["loss"]})
    if runlog:
        runlog.close()
    return None


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up to the peak, then linear decay to zero after the last step: a pure function of the step."""
    warmup = int(config.warmup * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    return config.learning_rate * (steps - step) / max(steps - warmup, 1)


def describe(plan: Plan, part: Slice, groups: torch.Tensor) -> dict[str, Any]:
    """The log line of a step: what was planned, and a digest of the groups all ranks were in fact trained on."""
    return {
        "step": part.step,
        "stratum": part.stratum,
        "kind": plan.stratum(part.step).kind,
        "query_languages": part.query_languages,
        "passage_languages": part.passage_languages,
        "groups": hashlib.sha256(groups.cpu().numpy().tobytes()).hexdigest()[:16],
    }


def _engine(model: Contrastive, config: TrainConfig, ranks: int) -> Any:
    """The DeepSpeed engine around the model. The learning rate is set by us, step by step."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # ninja
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.optimizer.learning_rate, weight_decay=config.optimizer.weight_decay
    )
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config={
            "train_micro_batch_size_per_gpu": config.batches.batch_size // ranks,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": config.optimizer.max_grad_norm,
            "zero_optimization": {"stage": config.zero_stage},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": sys.maxsize,
        },
    )
    engine.train()
    return engine


def _make_moments(engine: Any, inputs: dict[str, Any]) -> None:
    """Have the optimizer create its state: a step that changes no weight, since its learning rate is 0."""
    _set_learning_rate(engine, 0.0)
    loss, _ = engine(inputs)
    engine.backward(loss * 0.0)
    engine.step()


def _set_learning_rate(engine: Any, rate: float) -> None:
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
