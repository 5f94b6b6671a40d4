"""Checkpoints that cannot be written, on a real engine."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from hbt_ray.config import EncoderConfig, EngineConfig, PlanConfig, TrainConfig, UserError
from hbt_ray.train import checkpoint, engine
from hbt_ray.train.folder import complete_steps


def fails(_: int, folder: str, port: int) -> None:
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")  # which DeepSpeed reads
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    config = TrainConfig(
        data="/none", out=folder, steps=9, encoder=EncoderConfig(model="tiny"), engine=EngineConfig(zero_stage=1),
        batches=PlanConfig(batch_size=2),
    )  # fmt: skip
    trainer = engine.build_engine(torch.nn.Linear(2, 2), config, 1)
    trainer.backward(trainer(torch.ones(2, 2)).sum())
    engine.take_step(trainer)
    saver = checkpoint.Saver(f"{folder}/checkpoints", {}, 1, lambda steps: set())
    saver.check()
    saver.save(trainer, 1)
    assert saver.wait() == 1
    saver.check()
    Path(folder, "checkpoints", "step-000000002").write_text("in its way")
    saver.save(trainer, 2)
    with pytest.raises(UserError, match=r"step-000000002/state.*: Not a directory"):
        while True:  # as steps go on
            saver.check()
            time.sleep(0.01)
    dist.destroy_process_group()


@pytest.mark.long
def test_a_checkpoint_that_cannot_be_written_ends_the_run_before_the_next_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    spawn(fails, (str(tmp_path), port), nprocs=1)
    assert complete_steps(str(tmp_path / "checkpoints")) == [1]
