"""What is measured of a step, over two ranks, and what that costs."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from exact import ROWS, encoder_of, whole_batch
from torch.multiprocessing.spawn import spawn

from hbt_ray.batches.wanted import Wanted
from hbt_ray.train.batch import Collator
from hbt_ray.train.gauges import Gauges

COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "barrier", "all_gather_object")


def one_rank(rank: int, ranks: int, port: int, folder: str, out: str) -> None:
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    encoder = encoder_of(folder)
    part = whole_batch(folder)
    part = part._replace(pairs=part.pairs.slice(rank * ROWS // ranks, ROWS // ranks))
    batch = Collator(encoder, Wanted(), torch.device("cpu"), 10**6, list)(part)
    calls: Counter[str] = Counter()

    def counted(name: str) -> Any:
        whole = getattr(dist, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return whole(*arguments, **options)

        return call

    gauges = Gauges("run", encoder, torch.device("cpu"))
    for name in COLLECTIVES:
        setattr(dist, name, counted(name))
    gauges.wait()
    time.sleep(0.2 * rank)
    gauges.begin()
    found = gauges.end(torch.tensor(1.0 + rank), batch)
    flops = encoder.flops(batch.tokens, batch.squares)
    torch.save([found, dict(calls), batch.tokens, batch.computed, flops], f"{out}/{rank}.pt")
    dist.destroy_process_group()


def test_a_step_is_measured_over_all_ranks_in_one_message(exact_folder: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_rank, (2, port, exact_folder, str(tmp_path)), nprocs=2)
    (first, calls, *mine), (second, _, *others) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert calls == {"all_gather": 1}
    tokens, computed, flops = ((one + other) for one, other in zip(mine, others, strict=True))
    for found in (first, second):
        assert found["loss"] == 1.5
        assert found["tokens"] == tokens and found["padding"] == pytest.approx(1 - tokens / computed)
        assert 0.2 <= found["stall_s"] <= found["step_s"]
        seconds = tokens / 2 / found["rank_tokens_per_s"]
        assert found["rank_tflops"] == pytest.approx(flops / 2 / seconds / 1e12)
        assert found["pairs_per_s"] == pytest.approx(ROWS / seconds)
    assert first["stall_s"] == second["stall_s"] and first["memory_gib"] == second["memory_gib"] > 0
