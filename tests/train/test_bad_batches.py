"""Batches whose gradients are no finite numbers: they change nothing, whatever the engine."""

from __future__ import annotations

import math
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
from hbt_ray.config import EncoderConfig, EngineConfig, InfoNCEConfig, PlanConfig, TrainConfig
from hbt_ray.train import engine, step
from hbt_ray.train.batch import Collator
from hbt_ray.train.loop import largest_of_ranks
from hbt_ray.train.losses.objective import Objective

LOSSES = (InfoNCEConfig(temperature=0.1),)
STAGES = (0, 1, 3)


def one_rank(rank: int, ranks: int, port: int, folder: str, out: str) -> None:
    """Weights after two steps, and after the same two with a bad one between; of the bad one, rank 1 alone is hit."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    agree = largest_of_ranks()
    part = whole_batch(folder)
    part = part._replace(pairs=part.pairs.slice(rank * ROWS // ranks, ROWS // ranks))
    found: dict[tuple[int, bool], Any] = {}
    for stage in STAGES:
        for bad in (False, True):
            config = TrainConfig(
                data="/none",
                out="/out",
                steps=2,
                encoder=EncoderConfig(model="tiny", precision="fp32"),
                batches=PlanConfig(batch_size=ROWS),
                engine=EngineConfig(zero_stage=stage, deepspeed=f"{folder}/deepspeed.json"),
            )
            encoder = encoder_of(folder)
            batch = Collator(encoder, Wanted(), torch.device("cpu"), 60, agree)(part)
            trainer = engine.build_engine(ExactChunks(encoder), config, ranks)
            objective = partial(Objective(LOSSES, 1), labels=batch.labels, step=0)

            def spoilt(
                *outputs: torch.Tensor, ours: partial[tuple[torch.Tensor, torch.Tensor]] = objective
            ) -> tuple[torch.Tensor, torch.Tensor]:
                loss, groups = ours(*outputs)
                return loss * (math.nan if rank == 1 else 1.0), groups

            norms = []
            for of_batch in (objective, spoilt, objective) if bad else (objective, objective):
                engine.set_learning_rate(trainer, 0.01)
                step.backward(trainer, batch, of_batch, gradcache=True)
                norms.append(engine.take_step(trainer))
            found[stage, bad] = norms, weights_of(trainer)
            trainer.destroy()
    if rank == 0:
        torch.save(found, f"{out}/weights.pt")
    dist.destroy_process_group()


def weights_of(trainer: Any) -> list[torch.Tensor]:
    from deepspeed.utils import safe_get_full_fp32_param

    trained = [weight for weight in trainer.module.parameters() if weight.requires_grad]
    whole = map(safe_get_full_fp32_param, trained) if trainer.zero_optimization() else trained
    return [weight.detach().clone() for weight in whole]


@pytest.mark.long
def test_a_bad_batch_changes_neither_weights_nor_moments(exact_folder: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_rank, (2, port, exact_folder, str(tmp_path)), nprocs=2)
    found = torch.load(tmp_path / "weights.pt")
    for stage in STAGES:
        (norms, expected), (with_bad, weights) = found[stage, False], found[stage, True]
        assert all(map(math.isfinite, norms))
        assert [math.isfinite(norm) for norm in with_bad] == [True, False, True], stage
        assert [with_bad[0], with_bad[2]] == norms
        assert all(torch.equal(one, other) for one, other in zip(expected, weights, strict=True)), stage
