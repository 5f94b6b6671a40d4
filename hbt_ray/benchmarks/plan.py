"""The plan: time a step at any step and world size, of a store of a billion rows that is a manifest alone."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import ray
import torch
from torch.utils.data import BatchSampler, RandomSampler

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.benchmarks import feeding, store
from hbt_ray.benchmarks.settings import PlanBenchmark
from hbt_ray.config import PlanConfig
from hbt_ray.data.streams import StreamStore

WORLD_SIZES = (1, 8, 64, 128, 256, 1024)
PEER_STEPS = 1000
log = logging.getLogger(__name__)


def measure(config: PlanBenchmark) -> dict[str, Any]:
    """Microseconds a step by batch size, step and world size, in a Ray task as when the plan is executed; the first
    batch size is compared with the peer."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        uri = store.manifest_only(folder, config.rows, config.streams).uri
        task = ray.remote(num_cpus=0)(_steps)
        figures = []
        for size in config.batch_sizes:
            found = ray.get(task.remote(uri, size, config))
            log.info("batch %d: %s µs a step", size, sorted(figure["us_per_step"] for figure in found))
            figures += found
        start_s = _median(lambda _: _start(uri, config), config.repeats)
    late = [figure for figure in figures if figure["step"] == config.late_step]
    ours = max(figure["us_per_step"] for figure in late if figure["batch_size"] == config.batch_sizes[0])
    peer_s, peer_us = _peer(config)
    peer_start_s = peer_s + config.late_step * peer_us / 1e6  # it draws all batches before
    return {
        "ours_us_per_step": ours,
        "ours_us_per_step_by": figures,
        "ours_late_start_s": round(start_s, 4),
        "feeding": feeding.measure(config),
        "peer": f"torch RandomSampler and BatchSampler over {config.peer_rows} rows, sentence-transformers' default",
        "peer_us_per_step": round(peer_us, 1),
        "peer_first_batch_s": round(peer_s, 4),
        "peer_late_start_s": round(peer_start_s, 4),
        "ratios": {"a step": round(peer_us / ours, 3), "a late start": round(peer_start_s / start_s, 1)},
    }


def _start(uri: str, config: PlanBenchmark) -> None:
    """What a process does until it knows the first batch of a late start: open the store, make the plan, ask it."""
    plan = Plan(StreamStore(uri), PlanConfig(batch_size=config.batch_sizes[0]))
    plan.batches(config.late_step, config.late_step + 1)


def _steps(uri: str, batch_size: int, config: PlanBenchmark) -> list[dict[str, Any]]:
    """A chunk of steps planned as the read tasks do it, and the rows of one rank cut out."""
    store = StreamStore(uri)
    plan = Plan(store, PlanConfig(batch_size=batch_size))
    found = []
    for start in (0, config.late_step):
        for world_size in WORLD_SIZES:
            if batch_size % world_size == 0:
                steps = chunk.shape(store, batch_size, world_size).steps
                work = partial(_slices, plan, start, steps, world_size)
                us = round(_median(work, config.repeats) / steps * 1e6, 1)
                found.append({"batch_size": batch_size, "step": start, "world_size": world_size, "us_per_step": us})
    return found


def _slices(plan: Plan, start: int, steps: int, world_size: int, number: int) -> list[np.ndarray]:
    """Member and row of each pair of the last rank in the `number`-th chunk from `start`."""
    first = start + number * steps
    batches = plan.batches(first, first + steps)
    return [column.reshape(steps, world_size, -1)[:, -1].copy() for column in (batches.members, batches.rows)]


def _median(work: Callable[[int], object], repeats: int) -> float:
    """Median time [s] of the calls 1, 2, …; call 0 is not counted."""
    work(0)
    times = []
    for number in range(1, repeats + 1):
        begun = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _peer(config: PlanBenchmark) -> tuple[float, float]:
    """Time to the first batch [s], and of each after it [µs]."""
    size = config.batch_sizes[0]
    begun = time.perf_counter()
    sampler = RandomSampler(range(config.peer_rows), generator=torch.Generator())
    batches = iter(BatchSampler(sampler, size, drop_last=True))
    next(batches)
    first = time.perf_counter() - begun
    count = min(PEER_STEPS, config.peer_rows // size - 1)
    begun = time.perf_counter()
    for _ in islice(batches, count):
        pass
    return first, (time.perf_counter() - begun) / count * 1e6
