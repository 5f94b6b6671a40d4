"""Checkpoints: whole or absent, free of pickles, and independent of the number of workers and the ZeRO stage.

Every rank writes some of the parameters, whole, with their Adam moments, as safetensors; the manifest comes last and
holds (step, seed, plan hash). Parameters are assembled one by one, so no rank ever holds the full optimizer state.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn

from hbt_ray import storage
from hbt_ray.config import TrainConfig, UserError

MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter
KIND = "checkpoint"


class Checkpoint:
    """One complete checkpoint."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.manifest = storage.read_manifest(uri, KIND)

    @property
    def step(self) -> int:
        """Steps trained: the run continues with the batch of this number."""
        return int(self.manifest["step"])

    def tensors(self) -> Iterator[tuple[str, str, torch.Tensor]]:
        """(`weight`, `exp_avg` or `exp_avg_sq`; parameter name; tensor), one file in memory at a time."""
        for name in self.manifest["files"]:
            for key, tensor in safetensors.torch.load(storage.read_bytes(storage.join(self.uri, name))).items():
                part, _, parameter = key.partition("/")
                yield part, parameter, tensor

    def load_weights(self, model: nn.Module) -> None:
        """Put the trained weights into `model`, before it is handed to DeepSpeed."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for part, name, tensor in self.tensors():
                if part == "weight":
                    parameters[name].copy_(tensor)

    def load_moments(self, engine: Any) -> None:
        """Put the Adam moments into `engine`, whose optimizer has made one step of learning rate 0 to have any."""
        from deepspeed.utils import safe_set_full_optimizer_state

        parameters = dict(engine.module.named_parameters())
        for part, name, tensor in self.tensors():
            if part in MOMENTS:
                parameter = parameters[name]
                if engine.zero_optimization():
                    safe_set_full_optimizer_state(parameter, tensor.to(engine.device), part)
                else:
                    engine.optimizer.state[parameter][part].copy_(tensor)
        inner = engine.optimizer.optimizer if engine.zero_optimization() else engine.optimizer
        for state in inner.state.values():
            state["step"].fill_(self.step)


def folder_of(config: TrainConfig) -> str:
    """Where the run's checkpoints are."""
    return storage.join(config.out, "checkpoints", config.name)


def latest(folder: str) -> Checkpoint | None:
    """The newest complete checkpoint below `folder`, or None."""
    complete = [uri for uri in _folders(folder) if storage.committed(uri)]
    return Checkpoint(complete[-1]) if complete else None


def next_step(folder: str) -> int:
    """The step a run with checkpoints in `folder` goes on with."""
    point = latest(folder)
    return point.step if point else 0


def check(point: Checkpoint, plan_identity: dict[str, Any], plan_hash: str) -> None:
    """Raises:
    UserError: the checkpoint belongs to another plan; the line names the setting that differs.
    """
    if point.manifest["plan_hash"] == plan_hash:
        return
    before = point.manifest["plan"]
    for key in sorted({*before, *plan_identity}):
        if before.get(key) != plan_identity.get(key):
            raise UserError(
                f"{point.uri} belongs to another plan: "
                f"{key} is {before.get(key)!r} there and {plan_identity.get(key)!r} here"
            )


def save(engine: Any, folder: str, step: int, about: dict[str, Any], keep: int) -> None:
    """Write a checkpoint with the help of all ranks; all must call it. Older ones than the `keep` newest go."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    uri = storage.join(folder, f"step-{step:09d}")
    names = [f"state-{number:05d}-of-{ranks:05d}.safetensors" for number in range(ranks)]
    buffer = io.BytesIO(safetensors.torch.save(_own_share(engine, rank, ranks)))
    storage.write_bytes(storage.join(uri, names[rank]), buffer.getvalue())
    dist.barrier()
    if rank == 0:
        storage.commit(uri, KIND, {"step": step, "files": names, **about})
        for old in [uri for uri in _folders(folder) if storage.committed(uri)][:-keep]:
            storage.remove(old)
    dist.barrier()


def _own_share(engine: Any, rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Every `ranks`-th trained parameter and its moments, fp32 on CPU. Assembling one is a collective."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    share = {}
    trained = [(name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad]
    for number, (name, parameter) in enumerate(trained):
        if engine.zero_optimization():
            tensors = [safe_get_full_fp32_param(parameter)]
            tensors += [safe_get_full_optimizer_state(parameter, moment) for moment in MOMENTS]
        else:
            tensors = [parameter.detach(), *(engine.optimizer.state[parameter][moment] for moment in MOMENTS)]
        if number % ranks == rank:
            for part, tensor in zip(("weight", *MOMENTS), tensors, strict=True):
                share[f"{part}/{name}"] = tensor.detach().float().cpu().reshape(parameter_shape(parameter)).contiguous()
    return share


def parameter_shape(parameter: nn.Parameter) -> torch.Size:
    """The whole parameter's shape, also while ZeRO-3 has it in parts."""
    return getattr(parameter, "ds_shape", parameter.shape)


def _folders(folder: str) -> list[str]:
    fs, path = storage.filesystem(folder)
    if not fs.isdir(path):
        return []
    names = sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in fs.ls(path, detail=False, refresh=True))
    return [storage.join(folder, name) for name in names if name.startswith("step-")]
