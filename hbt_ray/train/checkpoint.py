"""Checkpoints: whole or absent, free of pickles, and independent of the number of workers and the ZeRO stage.

Every rank writes some of the parameters, whole, with their Adam moments, as safetensors; the manifest comes last and
holds (step, seed, plan hash). Parameters are assembled one by one, so no rank ever holds the full optimizer state.
Writing goes on beside training: a step waits for the copy to the CPU only.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import nn

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.storage.fields import Below, Count, Shape
from hbt_ray.train.folder import checkpoint_of, complete_steps
from hbt_ray.train.node import once_a_node, several

MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter
KIND = "checkpoint"
POLL_SECONDS = 0.1


class _Manifest(Shape):
    step: Count
    files: list[Below]
    plan_hash: str
    plan: dict[str, Any]
    model: str
    skipped: Count = 0


class TrainState:
    """One complete checkpoint. Each node fetches its files once, for all its ranks, which read what they need."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.manifest = storage.read_manifest(uri, KIND, _Manifest)
        self._place: str | None = None  # where its files are on this node
        self._leads = True  # whether this rank has fetched them

    @property
    def step(self) -> int:
        """The number of steps trained: the run continues with the batch of this number."""
        return int(self.manifest["step"])

    @property
    def skipped(self) -> int:
        """How many of these steps were skipped, since their gradients were no finite numbers."""
        return int(self.manifest.get("skipped", 0))

    def fetch(self) -> None:
        """Bring the files to this node, unless they are there. All ranks must call it."""
        if self._place is not None:
            return
        if storage.is_local(self.uri):
            self._place = storage.local_copy(self.uri)
        else:
            self._place, self._leads = once_a_node(lambda: storage.local_copy(self.uri))

    def release(self) -> None:
        """Delete what was fetched. All ranks must call it."""
        if self._place is None or storage.is_local(self.uri):
            return
        if several():
            dist.barrier()  # until all have read
        if self._leads:
            shutil.rmtree(self._place, ignore_errors=True)
        self._place = None

    def tensors(self, *parts: str) -> Iterator[tuple[str, str, torch.Tensor]]:
        """Of the parts named (`weight`, `exp_avg`, `exp_avg_sq`) of every parameter: part, parameter's name, and value,
        fp32 [whole parameter]. All ranks must ask for the first."""
        self.fetch()
        assert self._place is not None
        for name in self.manifest["files"]:
            file = storage.join(self.uri, name)
            try:
                with safetensors.safe_open(Path(self._place, name), framework="pt") as opened:
                    for key in opened.keys():  # noqa: SIM118  # it is no mapping
                        part, _, parameter = key.partition("/")
                        if part in parts:
                            yield part, parameter, opened.get_tensor(key)
            except (SafetensorError, FileNotFoundError) as error:
                raise UserError(f"{file} is no whole file of tensors: {error}") from None

    def load_weights(self, model: nn.Module) -> None:
        """Put the trained weights into `model`, before it is handed to DeepSpeed."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for _, name, tensor in self.tensors("weight"):
                parameters[name].copy_(tensor)

    def load_moments(self, engine: Any) -> None:
        """Put the Adam moments into `engine`, whose optimizer has made one step of learning rate 0 to have any."""
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        _link_moments(engine)
        parameters = dict(engine.module.named_parameters())
        for part, name, tensor in self.tensors(*MOMENTS):
            parameter = parameters[name]
            if engine.zero_optimization_stage() == 3:
                safe_set_local_optimizer_state(parameter, _own_partition(parameter, tensor.to(engine.device)), part)
            elif engine.zero_optimization():
                safe_set_full_optimizer_state(parameter, tensor.to(engine.device), part)
            else:
                engine.optimizer.state[parameter][part].copy_(tensor)
        inner = engine.optimizer.optimizer if engine.zero_optimization() else engine.optimizer
        for state in inner.state.values():
            state["step"].fill_(self.step - self.skipped)


def at(folder: str, step: int) -> TrainState:
    """The checkpoint after `step` steps.

    Raises:
        UserError: it is not complete.
    """
    return TrainState(checkpoint_of(folder, step))


def latest(folder: str) -> TrainState | None:
    """The newest complete checkpoint below `folder`, or None."""
    steps = complete_steps(folder)
    return TrainState(checkpoint_of(folder, steps[-1])) if steps else None


def identity(model: nn.Module) -> str:
    """A fingerprint of the names and shapes of what is trained."""
    shapes = {name: list(parameter_shape(weight)) for name, weight in model.named_parameters() if weight.requires_grad}
    return storage.fingerprint(shapes)


def check_same_model(point: TrainState, model: nn.Module) -> None:
    """Check that the checkpoint is of this model.

    Raises:
        UserError: the checkpoint belongs to another model.
    """
    if point.manifest["model"] != identity(model):
        raise UserError(f"{point.uri} belongs to another model: its parameters have other names or shapes")


def check_same_plan(point: TrainState, plan_identity: dict[str, Any], plan_hash: str) -> None:
    """Check that the checkpoint is of this plan.

    Raises:
        UserError: the checkpoint belongs to another plan; the line names what differs.
    """
    if point.manifest["plan_hash"] == plan_hash:
        return
    before = point.manifest["plan"]
    for key in sorted({*before, *plan_identity}, key=lambda key: (key == "plan", key)):  # a setting says more
        if before.get(key) != plan_identity.get(key):
            raise UserError(
                f"{point.uri} belongs to another plan: "
                f"{key} is {before.get(key)!r} there and {plan_identity.get(key)!r} here"
            )


class Saver:
    """Writes the checkpoints of a run, one at a time. All ranks help: they call the same, in the same order."""

    def __init__(self, folder: str, about: dict[str, Any], keep: int, needed: Callable[[list[int]], set[int]]) -> None:
        """Set up the writing of checkpoints below `folder`.

        Args:
            about: what the manifests say beside the step.
            keep: newest checkpoints that stay.
            needed: gives, of the steps that have checkpoints, those whose checkpoints stay as well.
        """
        self._folder = folder
        self._about = about
        self._keep = keep
        self._needed = needed
        self._pool = ThreadPoolExecutor(1)
        self._writing: tuple[int, Future[None]] | None = None

    def save(self, engine: Any, step: int, skipped: int = 0) -> None:
        """Begin to write the checkpoint of this step, of which some were `skipped`, when the one before is written."""
        self.wait()
        rank, ranks = dist.get_rank(), dist.get_world_size()
        attempt = [secrets.token_hex(4)]  # so that files a killed attempt has left are not taken for this one's
        dist.broadcast_object_list(attempt)
        uri = checkpoint_of(self._folder, step)
        names = [f"state-{number:05d}-of-{ranks:05d}-{attempt[0]}.safetensors" for number in range(ranks)]
        share = _own_share(engine, rank, ranks)
        self._writing = step, self._pool.submit(self._write, share, uri, names, rank, step, skipped)

    def wait(self) -> int | None:
        """Wait until nothing is being written; returns the step of what has become a checkpoint meanwhile.

        Whatever went wrong in writing it is raised here.
        """
        if self._writing is None:
            return None
        step, writing = self._writing
        self._writing = None
        writing.result()
        dist.barrier()  # then all ranks know that all of it is there
        return step

    def check(self) -> None:
        """Raise what went wrong in writing, if it has by now: no rank waits in this."""
        if self._writing is not None and self._writing[1].done():
            self._writing[1].result()

    def _write(
        self, share: dict[str, torch.Tensor], uri: str, names: list[str], rank: int, step: int, skipped: int
    ) -> None:
        storage.write_bytes(storage.join(uri, names[rank]), safetensors.torch.save(share))
        if rank == 0:
            while not set(names) <= set(storage.sizes(uri)):
                time.sleep(POLL_SECONDS)  # a rank that fails to write raises, which ends this one too
            storage.commit(uri, KIND, {"step": step, "skipped": skipped, "files": names, **self._about})
            steps = complete_steps(self._folder)
            for old in sorted({*steps[: -self._keep]} - self._needed(steps)):
                storage.remove(checkpoint_of(self._folder, old))


def _own_share(engine: Any, rank: int, ranks: int) -> dict[str, torch.Tensor]:
    """Every `ranks`-th trained parameter and its moments, fp32 on CPU. Assembling one is a collective."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    _link_moments(engine)
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


def _link_moments(engine: Any) -> None:
    """Have every parameter know its part of the moments. DeepSpeed does so at stages 1 and 2 after the first group of
    parameters has made its first step, when those of later groups have no moments yet."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state

    if engine.zero_optimization_stage() in (1, 2):
        zero = engine.optimizer
        for parameters, flat in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
            lazy_init_hp_params_optimizer_state(parameters, flat, zero.optimizer.state)


def _own_partition(parameter: Any, whole: torch.Tensor) -> torch.Tensor:
    """This rank's part, [elements of a part], of a tensor of the whole parameter's shape under ZeRO-3, which fills up
    the last parts with zeros; DeepSpeed 0.19.8 cuts a whole tensor as if there were no such parts."""
    size = parameter.ds_tensor.numel()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    filled = torch.nn.functional.pad(whole.flatten(), (0, size * ranks - whole.numel()))
    return filled[rank * size : (rank + 1) * size]


def parameter_shape(parameter: nn.Parameter) -> torch.Size:
    """The whole parameter's shape, also while ZeRO-3 has it in parts."""
    return getattr(parameter, "ds_shape", parameter.shape)
