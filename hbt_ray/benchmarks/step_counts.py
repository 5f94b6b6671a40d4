"""What one step of ours does, for the benchmark, in numbers that no machine changes: run as a module with a JSON task,
prints them as JSON. Two ranks on gloo take a GradCache step of the run's engine; the first is counted."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.profiler import ProfilerActivity, profile

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import PLAIN
from hbt_ray.config import TrainConfig
from hbt_ray.data.stores import Stores
from hbt_ray.model.build import build_encoder
from hbt_ray.train import engine
from hbt_ray.train.batch import Collator
from hbt_ray.train.gauges import Gauges
from hbt_ray.train.loop import largest_of_ranks
from hbt_ray.train.losses.objective import Objective
from hbt_ray.train.step import Chunks, backward

RANKS = 2
SMALL = 4096  # a message of fewer bytes is for its latency [bytes]
WAITS = ("aten::_local_scalar_dense", "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def count(run: TrainConfig) -> dict[str, float]:
    """Of a step, by one of two ranks: its chunks; operations of torch, kernels on a GPU; casts of weights, and of
    anything; waits for the device; messages, those under 4 KiB, and the bytes handed to all of them; and the tokens of
    the rank that has most of them over the mean."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_rank, (port, run), nprocs=RANKS)
    found: dict[str, float] = json.loads(_told(run).read_text())
    return found


def _rank(rank: int, port: int, run: TrainConfig) -> None:
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    store = Stores(run.data)
    plan = Plan(store, run.batches)
    encoder = build_encoder(run.encoder, store.tokenizer_uri)
    trainer = engine.build_engine(Chunks(encoder, run.loss), run, RANKS)
    objective = Objective(run.loss, run.length)
    collate = Collator(encoder, PLAIN, trainer.device, run.engine.chunk_tokens, largest_of_ranks(), run.loss)
    gauges = Gauges("counts", encoder, trainer.device)
    value = chunk.read_chunk(store, plan, 0, 2, RANKS)[rank]
    weights = {weight.numel() for weight in encoder.parameters()}
    for part in chunk.slices(value, rank, RANKS):
        batch = collate(part)
        tokens = torch.tensor([float(batch.tokens)])
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
            gauges.wait()
            gauges.begin()
            loss, _ = backward(trainer, batch, partial(objective, labels=batch.labels, step=part.step), gradcache=True)
            engine.take_step(trainer)
            gauges.end(loss, batch)
    everywhere = [torch.zeros(1) for _ in range(RANKS)]
    dist.all_gather(everywhere, tokens)
    if rank == 0:
        spread = float(torch.cat(everywhere).max() / torch.cat(everywhere).mean())
        counts = {"chunks": len(batch.chunks), **_counts(profiled, weights), "slowest_over_mean": round(spread, 4)}
        _told(run).write_text(json.dumps(counts))
    dist.destroy_process_group()


def _counts(profiled: Any, weights: set[int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for event in profiled.events():
        name = event.name
        found["operations"] += name.startswith("aten::")
        found["waits"] += name in WAITS
        if name == "aten::_to_copy":
            found["casts"] += 1
            found["weight_casts"] += _elements(event.input_shapes[:1]) in weights
        if name.startswith("c10d::"):
            size = 4 * _elements(event.input_shapes)  # of numbers in fp32
            found["messages"] += 1
            found["small_messages"] += size < SMALL
            found["bytes_sent"] += size
    return dict(found)


def _elements(shapes: Any) -> int:
    """The number of elements of the largest tensor, or list of tensors, that an operation was given."""
    sizes = [0]
    for shape in shapes:
        if shape and isinstance(shape[0], list):
            sizes.append(sum(_elements([one]) for one in shape))
        elif shape:
            sizes.append(int(torch.Size(shape).numel()))
    return max(sizes)


def _told(run: TrainConfig) -> Path:
    return Path(run.out, "counts.json")


if __name__ == "__main__":
    print(json.dumps(count(TrainConfig.model_validate(json.loads(sys.argv[1])["run"]))))  # noqa: T201
