"""The DeepSpeed engine of a run, from our settings and a settings file the user may have."""

from __future__ import annotations

import fcntl
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.cpp_extension import _get_build_directory

from hbt_ray.config import EngineConfig, OptimizerConfig, TrainConfig, UserError
from hbt_ray.model.imports import without
from hbt_ray.train import deepspeed_file

DEFAULT_STAGE = 2
BUCKET = 50_000_000  # parameters reduced at once; DeepSpeed's own 5e8 would take 1.9 GiB of every GPU


def deepspeed_settings(config: TrainConfig, ranks: int) -> dict[str, Any]:
    """DeepSpeed's settings: those of `--deepspeed`, with what follows from the run put in.

    Raises:
        UserError: the file cannot be read, says what no run can do, or contradicts the run.
    """
    given = deepspeed_file.read(config.engine.deepspeed) if config.engine.deepspeed else {}
    stage = _stage(config.engine, given)
    ours: dict[str, Any] = {
        "train_batch_size": config.batches.batch_size,
        "train_micro_batch_size_per_gpu": config.batches.batch_size // ranks,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "zero_optimization": {"stage": stage},
    }
    _check(given, ours, config)
    offloads = "offload_optimizer" in given.get("zero_optimization", {})
    return {
        "steps_per_print": sys.maxsize,
        "timers": {"throughput": {"enabled": False}},  # ours counts; theirs waits for the device twice a chunk
        **given,
        **ours,
        "zero_optimization": {
            "reduce_bucket_size": BUCKET,
            "allgather_bucket_size": BUCKET,
            **given.get("zero_optimization", {}),
            "stage": stage,
        },
        "zero_allow_untested_optimizer": True,
        **({"zero_force_ds_cpu_optimizer": False} if offloads else {}),
    }


def build_engine(
    model: nn.Module, config: TrainConfig, ranks: int, optimizer: torch.optim.Optimizer | None = None
) -> Any:
    """The engine around the model, in training mode. The learning rate is set by us, step by step.

    Raises:
        UserError: DeepSpeed's settings file cannot be read or contradicts the run.
    """
    if not torch.cuda.is_available():
        compile_for_cpu()
    with without("mlflow"):  # which its autotuner, that no run uses, imports: most of what DeepSpeed takes to import
        import deepspeed

    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer or adamw(model, config.optimizer), config=deepspeed_settings(config, ranks)
    )
    engine.train()
    return engine


def compile_for_cpu() -> None:
    """Compile what DeepSpeed needs to communicate on CPUs, unless an earlier process has.

    One process at a time, by a lock that ends with its process: torch's own is a file that a process killed meanwhile
    leaves behind, and all later ones would wait for ever.

    Raises:
        RuntimeError: there is no compiler or no ninja.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # ninja
    os.environ["DS_ACCELERATOR"] = "cpu"
    with without("mlflow"):
        from deepspeed.accelerator import get_accelerator

    builder = get_accelerator().create_op_builder("ShareMemCommBuilder")
    folder = Path(_get_build_directory(builder.name, verbose=False))
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "lock").unlink(missing_ok=True)
        builder.load()


def adamw(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained, in one kernel a step.

    Weights decay; biases and the scales of normalisation layers, all of one dimension, do not, as in transformers'
    trainer.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)


def take_step(engine: Any) -> float:
    """Take one step of the optimizer; returns the L2 norm of the gradients before clipping.

    Where that is no finite number, on all ranks then, weights and moments stay as they are.
    """
    if engine.zero_optimization():
        engine.step()  # which clears such gradients itself
        return float(engine.get_global_grad_norm())
    gradients = [weight.grad for weight in engine.module.parameters() if weight.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))  # without ZeRO, the engine does not tell
    if math.isfinite(norm):
        engine.step()
    else:
        engine.zero_grad()
    return norm


def set_learning_rate(engine: Any, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def _check(given: dict[str, Any], ours: dict[str, Any], config: TrainConfig) -> None:
    """Check the user's settings file against the run.

    Raises:
        UserError: the file says something else than the run does.
    """
    file = f"--deepspeed {config.engine.deepspeed}"
    stated = {**given, "zero_optimization.stage": given.get("zero_optimization", {}).get("stage", "auto")}
    wanted = {**ours, "zero_optimization.stage": ours["zero_optimization"]["stage"]}
    flags = {
        "train_batch_size": "--batch-size",
        "train_micro_batch_size_per_gpu": "--batch-size and --workers",
        "gradient_accumulation_steps": "a batch that is computed in chunks, not accumulated",
        "gradient_clipping": "--max-grad-norm",
        "zero_optimization.stage": "--zero-stage",
    }
    for name, flag in flags.items():
        value = stated.get(name, "auto")
        if value not in ("auto", wanted[name]):
            raise UserError(f"{file} says {name} {value}, the run {wanted[name]} ({flag}): change one, or leave it out")


def stage_of(config: EngineConfig) -> int:
    """The ZeRO stage of a run.

    Raises:
        UserError: the settings file cannot be read.
    """
    return _stage(config, deepspeed_file.read(config.deepspeed) if config.deepspeed else {})


def _stage(config: EngineConfig, given: dict[str, Any]) -> int:
    stated = given.get("zero_optimization", {}).get("stage", "auto")
    if config.zero_stage is not None:
        return config.zero_stage
    return DEFAULT_STAGE if stated == "auto" else int(stated)
