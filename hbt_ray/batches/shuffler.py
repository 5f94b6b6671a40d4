"""The hybrid-batch shuffler: Ray Data executes the plan, in order, each slice to its rank.

One generator task names the chunks of the plan, read tasks turn each into one row a rank, and `streaming_split` hands
the rows out in turn. Every row is a block of its own and order is preserved, so a slice arrives where it was planned;
each rank checks that all the same. A restart names the chunks from the checkpointed step on, at any world size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import lru_cache, partial
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import DataIterator, Dataset, ExecutionOptions, TaskPoolStrategy
from ray.train import DataConfig

from hbt_ray.batches import chunk
from hbt_ray.batches.chunk import Shape, Slice
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import PLAIN, Wanted
from hbt_ray.config import PlanConfig, UserError, WeightedStore
from hbt_ray.data.stores import Stores

DATASET = "train"  # what the dataset is called inside Ray Train
FIRST_CHUNK = 1 / 16  # of a whole one, so that training need not wait for one; each next is twice as large
READ_TASKS = 2  # chunks read at once, or one for every four ranks where that is more


def check_workers(batch_size: int, workers: int, max_workers: int | None = None) -> None:
    """Check that every number of workers that is allowed divides the batch.

    Raises:
        UserError: some number of workers that is allowed does not divide the batch; the line says what would do.
    """
    if max_workers is None:
        if batch_size % workers:
            fitting = ", ".join(str(count) for count in range(1, batch_size + 1) if batch_size % count == 0)
            raise UserError(
                f"--batch-size {batch_size} cannot be divided among --workers {workers}; "
                f"these counts would do: {fitting}"
            )
        return
    allowed = range(workers, max_workers + 1)
    failing = [count for count in allowed if batch_size % count]
    if failing:
        unit = math.lcm(*allowed)
        near = ", ".join(str(size) for size in (batch_size // unit * unit, (batch_size // unit + 1) * unit) if size)
        raise UserError(
            f"--batch-size {batch_size} cannot be divided among {failing[0]} workers, which --workers {workers} "
            f"--max-workers {max_workers} allow; these batch sizes would do: {near} (multiples of {unit})"
        )


def dataset(
    data: tuple[WeightedStore, ...], config: PlanConfig, start: int, stop: int, world_size: int, wanted: Wanted = PLAIN
) -> Dataset:
    """Steps start … stop of the plan as a lazy dataset in plan order, with what is wanted of each pair.

    One row a (chunk, rank): `value`, made for `chunk.slices`, or what is wrong with the store in `problem`.

    Raises:
        UserError: a place in `data` holds no finished stream store, or one that cannot be read with the others.
    """
    whole = ray.data.from_items([{"start": start, "stop": stop}])
    context = whole.context  # of this data set only: another thread may be making one of its own
    context.target_max_block_size = 1  # a row is a block: Ray neither joins nor splits what belongs to one rank
    context.target_min_block_size = 0
    context.execution_options = ExecutionOptions(preserve_order=True)
    context.enable_progress_bars = False  # training has its own
    shape = chunk.shape(Stores(data), config.batch_size, world_size)
    return whole.flat_map(partial(_chunks, shape=shape, world_size=world_size), num_cpus=0).map_batches(
        partial(_read, data=data, config=config, world_size=world_size, wanted=wanted),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=0,  # the trainer has reserved the CPUs; reading must not wait for one
        compute=TaskPoolStrategy(size=read_tasks(world_size)),
    )


def read_tasks(world_size: int) -> int:
    """How many tasks read at once for so many ranks."""
    return max(READ_TASKS, world_size // 4)


class HybridBatches(DataConfig):
    """Gives every rank its slices, from where the run now stands: `next_step` is asked at each worker-group start."""

    def __init__(
        self,
        data: tuple[WeightedStore, ...],
        config: PlanConfig,
        steps: int,
        next_step: Callable[[], int],
        wanted: Wanted = PLAIN,
    ) -> None:
        super().__init__()
        self._data = data
        self._config = config
        self._steps = steps
        self._next_step = next_step
        self._wanted = wanted

    def configure(
        self, datasets: dict[str, Dataset], world_size: int, *_: Any, **__: Any
    ) -> list[dict[str, DataIterator]]:
        """One iterator a rank over the remaining steps; the datasets given are only names."""
        start = self._next_step()
        remaining = dataset(self._data, self._config, start, self._steps, world_size, self._wanted)
        return [{DATASET: split} for split in remaining.streaming_split(world_size, equal=True)]


def placeholder() -> Dataset:
    """What Ray Train is given as the dataset: `HybridBatches` puts the plan in its place."""
    return ray.data.from_items([{"start": 0}])


def blocks(iterator: DataIterator) -> Iterator[pa.Table]:
    """A rank's blocks. The first is asked for at once, in a thread, for Ray Data's processes to start meanwhile."""
    found = iter(iterator.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2))
    first: Future[pa.Table | None] = Future()

    def ask() -> None:
        try:
            first.set_result(next(found, None))
        except BaseException as error:
            first.set_exception(error)

    def all_blocks() -> Iterator[pa.Table]:
        block = first.result()
        while block is not None:
            yield block
            block = next(found, None)

    Thread(target=ask, daemon=True).start()  # of a pool, the process would wait for it at its end
    return all_blocks()


def rank_slices(
    blocks: Iterator[pa.Table], plan: Plan, start: int, stop: int, rank: int, world_size: int
) -> Iterator[Slice]:
    """The slices of steps start … stop that are in a rank's `blocks`, each checked against the plan.

    Raises:
        UserError: a stream file is damaged; every rank is told at the same step.
        RuntimeError: a slice came to the wrong rank, at the wrong step, of the wrong stratum, or not at all.
    """
    expected = start
    for block in blocks:
        for value, problem in zip(block.column("value"), block.column("problem"), strict=True):
            if problem.is_valid:
                raise UserError(problem.as_py())
            for part in chunk.slices(value.as_buffer(), rank, world_size):
                stratum = plan.stratum(expected).name
                if (part.step, part.stratum) != (expected, stratum):
                    raise RuntimeError(
                        f"rank {rank} was handed step {part.step} ({part.stratum}) where the plan has "
                        f"step {expected} ({stratum})"
                    )
                yield part
                expected += 1
    if expected != stop:
        raise RuntimeError(f"rank {rank}: the slices ended at step {expected}, before step {stop}")


def _chunks(row: dict[str, Any], shape: Shape, world_size: int) -> Iterator[dict[str, Any]]:
    start, steps = row["start"], max(1, int(shape.steps * FIRST_CHUNK))
    while start < row["stop"]:
        stop = min(start + steps, row["stop"])
        for ranks in shape.parts(world_size):
            yield {"start": start, "stop": stop, "first_rank": ranks.start, "stop_rank": ranks.stop}
        start, steps = stop, min(2 * steps, shape.steps)


def _read(
    batch: pa.Table, data: tuple[WeightedStore, ...], config: PlanConfig, world_size: int, wanted: Wanted
) -> Iterator[pa.Table]:
    """One row a rank: its slices, or what is wrong with the store (an exception would reach the ranks as Ray's own)."""
    told = batch.to_pylist()[0]
    start, ranks = told["start"], range(told["first_rank"], told["stop_rank"])
    values, problem = [pa.py_buffer(b"")] * len(ranks), None
    try:
        values = chunk.read_chunk(*_opened(data, config), start, told["stop"], world_size, wanted, ranks)
    except UserError as error:
        problem = f"step {start}: {error}"
    for value in values:
        ends = pa.py_buffer(np.array([0, value.size]))
        column = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, value])  # not copied
        yield pa.table({"value": column, "problem": pa.array([problem], pa.string())})


@lru_cache(maxsize=2)
def _opened(data: tuple[WeightedStore, ...], config: PlanConfig) -> tuple[Stores, Plan]:
    """Stores and plan of this process: read tasks of one run come to it again and again."""
    store = Stores(data)
    return store, Plan(store, config)
