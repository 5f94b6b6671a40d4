"""The plan: time a step at any step and world size, of a store of a billion rows that is a manifest alone."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, RandomSampler

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.config import PlanBenchmark, PlanConfig
from hbt_ray.data.streams import StreamStore
from hbt_ray.study.benchmarks import store

WORLD_SIZES = (1, 8, 64, 128, 256, 1024)
PEER_STEPS = 1000
log = logging.getLogger(__name__)


def measure(config: PlanBenchmark) -> dict[str, Any]:
    """Microseconds a step by batch size, step and world size; the first batch size is compared with the peer."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        written = store.manifest_only(folder, config.rows, config.streams)
        figures = [figure for size in config.batch_sizes for figure in _steps(written, size, config)]
        plan = PlanConfig(batch_size=config.batch_sizes[0])
        open_s = _median(lambda _: StreamStore(written.uri), config.repeats)
        build_s = _median(lambda _: Plan(written, plan), config.repeats)
    late = [figure for figure in figures if figure["step"] == config.late_step]
    ours = max(figure["us_per_step"] for figure in late if figure["batch_size"] == config.batch_sizes[0])
    peer_s, peer_us = _peer(config)
    return {
        "ours_us_per_step": ours,
        "ours_us_per_step_by": figures,
        "ours_open_store_s": round(open_s, 4),
        "ours_build_s": round(build_s, 4),
        "peer": f"torch RandomSampler and BatchSampler over {config.peer_rows} rows, sentence-transformers' default",
        "peer_us_per_step": round(peer_us, 1),
        "peer_first_batch_s": round(peer_s, 4),
        "ratio": round(peer_us / ours, 3),
    }


def _steps(written: StreamStore, batch_size: int, config: PlanBenchmark) -> list[dict[str, Any]]:
    """A chunk of steps planned as the read tasks do it, and the rows of one rank cut out."""
    plan = Plan(written, PlanConfig(batch_size=batch_size))
    steps = chunk.steps_per_chunk(batch_size)
    found = []
    for start in (0, config.late_step):
        for world_size in WORLD_SIZES:
            if batch_size % world_size == 0:
                seconds = _median(lambda n: _slices(plan, start + n * steps, steps, world_size), config.repeats)  # noqa: B023
                us = round(seconds / steps * 1e6, 1)
                found.append({"batch_size": batch_size, "step": start, "world_size": world_size, "us_per_step": us})
        log.info("batch %d, from step %d: %s µs a step", batch_size, start, [f["us_per_step"] for f in found])
    return found


def _slices(plan: Plan, start: int, steps: int, world_size: int) -> list[np.ndarray]:
    """Stream, row and languages of each pair of the last rank in steps from `start`."""
    batches = plan.batches(start, start + steps)
    columns = (batches.streams, batches.rows, batches.query_languages, batches.passage_languages)
    return [column.reshape(steps, world_size, -1)[:, -1].copy() for column in columns]


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
