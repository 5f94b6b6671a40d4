"""What DeepSpeed's optimizer is given: one process on the whole batch, in plain torch, is the truth."""

from __future__ import annotations

import itertools
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from exact import ROWS, ExactChunks, encoder_of, whole_batch
from torch.multiprocessing.spawn import spawn

from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import EncoderConfig, EngineConfig, InfoNCEConfig, OptimizerConfig, PlanConfig, TrainConfig
from hbt_ray.train import engine, step
from hbt_ray.train.batch import Collator
from hbt_ray.train.loop import largest_of_ranks
from hbt_ray.train.losses.objective import Objective

CHUNK_TOKENS, CLIP, RATE = 60, 0.5, 1000.0
LOSSES = (InfoNCEConfig(temperature=0.1),)
Grid = tuple[tuple[int, ...], tuple[bool, ...], tuple[int, ...]]
WHOLE: Grid = (0, 1, 2, 3), (False, True), (0, 1)  # ZeRO stages, GradCache, hard negatives
SHORT: Grid = (1, 3), (False, True), (1,)


def truth(folder: str, negatives: int) -> dict[str, torch.Tensor]:
    """The step a plain optimizer takes, clipping included, as weight changes over the learning rate."""
    encoder = encoder_of(folder)
    batch = Collator(encoder, Wanted(negatives), torch.device("cpu"), 10**6)(whole_batch(folder))
    vectors, temperatures = ExactChunks(encoder)(batch.chunks)
    loss, _ = Objective(LOSSES, 1)(vectors[:ROWS], vectors[ROWS:], temperatures, batch.labels, 0)
    loss.backward()
    trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
    norm = torch.nn.utils.clip_grad_norm_(trained.values(), CLIP)
    assert norm > CLIP  # or clipping would not show
    gradients = {name: weight.grad for name, weight in trained.items() if weight.grad is not None}
    assert gradients.keys() == trained.keys()
    return {"loss": loss.detach(), "norm": norm, **gradients}


def one_rank(rank: int, ranks: int, port: int, folder: str, grid: Grid) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    found: dict[tuple[Any, ...], dict[str, torch.Tensor]] = {}
    agree = largest_of_ranks()
    part = whole_batch(folder)
    part = part._replace(pairs=part.pairs.slice(rank * ROWS // ranks, ROWS // ranks))
    for stage, gradcache, negatives in itertools.product(*grid):
        config = TrainConfig(
            data="/none",
            out="/out",
            steps=1,
            encoder=EncoderConfig(model="tiny", precision="fp32"),
            batches=PlanConfig(batch_size=ROWS),
            optimizer=OptimizerConfig(max_grad_norm=CLIP),
            engine=EngineConfig(zero_stage=stage, deepspeed=f"{folder}/deepspeed.json"),
        )
        encoder = encoder_of(folder)
        batch = Collator(encoder, Wanted(negatives), torch.device("cpu"), CHUNK_TOKENS, agree)(part)
        model = ExactChunks(encoder)
        before = {name: weight.detach().clone() for name, weight in encoder.named_parameters() if weight.requires_grad}
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=RATE)
        trainer = engine.build_engine(model, config, ranks, optimizer)
        objective = partial(Objective(LOSSES, 1), labels=batch.labels, step=0)
        loss, _ = step.backward(trainer, batch, objective, gradcache)
        norm = engine.take_step(trainer)
        dist.all_reduce(loss)
        after = weights_of(trainer)
        found[stage, gradcache, negatives] = {
            "loss": loss / ranks,
            "norm": torch.tensor(norm),
            **{name: (weight - after[name]) / RATE for name, weight in before.items()},
        }
        trainer.destroy()
    if rank == 0:
        torch.save(found, Path(folder) / f"{ranks}.pt")
    dist.destroy_process_group()


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    from deepspeed.utils import safe_get_full_fp32_param

    return {
        name.removeprefix("encoder."): (
            safe_get_full_fp32_param(weight) if trainer.zero_optimization() else weight.detach()
        ).clone()
        for name, weight in trainer.module.named_parameters()
        if weight.requires_grad
    }


def test_steps_of_two_ranks_equal_one_process_on_the_whole_batch(exact_folder: str) -> None:
    compare(exact_folder, 2, SHORT)


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_steps_equal_one_process_on_the_whole_batch(exact_folder: str, ranks: int) -> None:
    compare(exact_folder, ranks, WHOLE)


def compare(exact_folder: str, ranks: int, grid: Grid) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_rank, (ranks, port, exact_folder, grid), nprocs=ranks)
    expected = {negatives: truth(exact_folder, negatives) for negatives in (0, 1)}
    found = torch.load(Path(exact_folder) / f"{ranks}.pt")
    assert list(found) == list(itertools.product(*grid))
    for (stage, gradcache, negatives), got in found.items():
        wanted = expected[negatives]
        case = f"ZeRO {stage}, {'GradCache' if gradcache else 'plain'}, {negatives} hard negatives"
        assert abs(got.pop("loss") - wanted["loss"]) < 1e-5, case
        assert abs(got.pop("norm") / wanted["norm"] - 1) < 1e-5, case
        assert got.keys() | {"loss", "norm"} == wanted.keys()
        difference = torch.sqrt(sum(((grad - wanted[name]) ** 2).sum() for name, grad in got.items()))
        assert difference / CLIP < 1e-6, f"{case}: {difference / CLIP}"
