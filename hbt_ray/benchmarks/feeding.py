"""How fast many GPUs can be fed, by arithmetic from what one machine can measure: a read task's work at the shape that
the chunks of so many ranks have, and what Ray's split coordinator hands out."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import ray
import ray.data

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.shuffler import read_tasks
from hbt_ray.benchmarks import store
from hbt_ray.benchmarks.settings import PlanBenchmark, ShufflerBenchmark
from hbt_ray.config import PlanConfig
from hbt_ray.data.streams import StreamStore

CONSUMERS = 4
REPEATS = 3
log = logging.getLogger(__name__)


def measure(config: PlanBenchmark) -> dict[str, Any]:
    """What the coordinator hands out, and for each number of ranks how many pairs/s each part of the way can carry."""
    blocks_per_s = _coordinator(config.blocks)
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        uri = store.write_store(folder, ShufflerBenchmark(pairs=config.fed_pairs)).uri
        task = ray.remote(num_cpus=0)(_read)
        works = ray.get([task.remote(uri, config, ranks) for ranks in config.ranks])
    found = [limits(config, ranks, work, blocks_per_s) for ranks, work in zip(config.ranks, works, strict=True)]
    for figures in found:
        log.info("%s", figures)
    return {"coordinator_blocks_per_s": round(blocks_per_s), "by_ranks": found}


class Work(NamedTuple):
    """What a read task does for so many ranks.

    Attributes:
        shape: of the chunks.
        pairs, seconds: what it reads at once, and how long it takes when that is in memory.
        block_bytes: what a rank is handed at once [bytes].
    """

    shape: chunk.Shape
    pairs: int
    seconds: float
    block_bytes: float


def limits(config: PlanBenchmark, ranks: int, work: Work, blocks_per_s: float) -> dict[str, Any]:
    """Pairs/s that each part of the way to `ranks` GPUs can carry, and which is the first to be met.

    A block is what a rank is handed at once: its share of a chunk. Read tasks run on the GPUs' nodes, so what a node
    receives is also what it sends; reading from storage comes on top.

    Args:
        blocks_per_s: what the coordinator hands out.
    """
    shape = work.shape
    batch_size = ranks * config.pairs_per_rank
    block_pairs = shape.steps * config.pairs_per_rank
    nodes = -(-ranks // config.ranks_per_node)
    carried = {
        "read tasks": read_tasks(ranks) * work.pairs / work.seconds,
        "coordinator": blocks_per_s * block_pairs,
        "network": nodes * config.network * 1e9 / 8 / (work.block_bytes / block_pairs),
    }
    first = min(carried, key=lambda name: carried[name])
    return {
        "ranks": ranks,
        "batch_size": batch_size,
        "steps_of_a_chunk": shape.steps,
        "ranks_of_a_task": shape.ranks,
        "block_kib": round(work.block_bytes / 2**10, 1),
        "read_tasks": read_tasks(ranks),
        **{f"{name}_pairs_per_s": round(value) for name, value in carried.items()},
        "first_limit": first,
        "ms_per_step_at_least": round(1000 * batch_size / carried[first], 2),
    }


def _read(uri: str, config: PlanBenchmark, ranks: int) -> Work:
    """The work of a task in the middle of a chunk, the fastest of some."""
    opened = StreamStore(uri)
    plan = Plan(opened, PlanConfig(batch_size=ranks * config.pairs_per_rank))
    shape = chunk.shape(opened, plan.config.batch_size, ranks)
    parts, times = shape.parts(ranks), []
    part = parts[len(parts) // 2]
    for number in range(REPEATS + 1):
        begun = time.perf_counter()
        start = number * shape.steps
        values = chunk.read_chunk(opened, plan, start, start + shape.steps, ranks, ranks=part)
        times.append(time.perf_counter() - begun)
    pairs = shape.steps * len(part) * config.pairs_per_rank
    return Work(shape, pairs, min(times[1:]), sum(value.size for value in values) / len(values))


def _coordinator(blocks: int) -> float:
    """Small blocks a second that a split of a data set hands to consumers, as the shuffler's are."""
    whole = ray.data.from_items([{"blocks": blocks}])
    whole.context.target_max_block_size = 1
    whole.context.target_min_block_size = 0
    whole.context.enable_progress_bars = False
    splits = whole.flat_map(_small, num_cpus=0).streaming_split(CONSUMERS, equal=True)
    task = ray.remote(num_cpus=0)(_take)
    spans = ray.get([task.remote(split) for split in splits])
    return blocks / (max(last for _, last in spans) - min(first for first, _ in spans))


def _small(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number in range(row["blocks"]):
        yield {"number": number}


def _take(split: ray.data.DataIterator) -> tuple[float, float]:
    """When the first and the last block came [s since the epoch]."""
    times = [time.time() for _ in split.iter_batches(batch_size=None, prefetch_batches=2)]
    return times[0], times[-1]
