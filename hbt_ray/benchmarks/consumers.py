"""The consumers of the shuffler's benchmark: what a training worker does with its slices, short of training."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Collection
from typing import NamedTuple

import ray
import ray.data
import torch

from hbt_ray.batches import shuffler
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import PLAIN
from hbt_ray.config import EncoderConfig, PlanConfig
from hbt_ray.data.streams import StreamStore
from hbt_ray.model.build import build_encoder
from hbt_ray.train.batch import Collator


class Taken(NamedTuple):
    """What one consumer got; times in s since the epoch.

    Attributes:
        first, last: when its first and last batch were tensors.
        pairs: in all batches after the first.
        times: of the steps asked for.
    """

    first: float
    last: float
    pairs: int
    times: dict[int, float]


class ConsumersRun(NamedTuple):
    """What all consumers got.

    Attributes:
        first_s: until each of them had its first batch [s].
        pairs_per_s: from each one's first batch to its last, together.
        times: of the steps asked for, at the first consumer [s since the epoch].
    """

    first_s: float
    pairs_per_s: float
    times: dict[int, float]


class Consumer:
    """One rank, with the collator of a randomly initialised encoder on the CPU."""

    def __init__(self, uri: str, rank: int, ranks: int) -> None:
        torch.set_num_threads(1)
        self._store = StreamStore(uri)
        encoder = build_encoder(EncoderConfig(model="tiny"), self._store.tokenizer_uri)
        self._collate = Collator(encoder, PLAIN, torch.device("cpu"), sys.maxsize)
        self._rank, self._ranks = rank, ranks

    def ready(self) -> bool:
        return True

    def take(
        self,
        splits: list[ray.data.DataIterator],
        config: PlanConfig,
        start: int,
        stop: int,
        steps: int,
        marks: set[int],
    ) -> Taken:
        """The first `steps` batches of a run from `start` to `stop`, as tensors."""
        plan = Plan(self._store, config)
        slices = shuffler.rank_slices(shuffler.blocks(splits[self._rank]), plan, start, stop, self._rank, self._ranks)
        first, pairs = 0.0, 0
        times = {}
        for part in itertools.islice(slices, steps):
            tensors = self._collate(part)
            if not first:
                first = time.time()
            else:
                pairs += len(tensors.labels.groups)
            if part.step in marks:
                times[part.step] = time.time()
        last = time.time()
        slices.close()  # type: ignore[attr-defined]  # a generator: what is ahead is not read
        return Taken(first, last, pairs, times)


class Consumers:
    """All ranks, ready to take batches."""

    def __init__(self, store: StreamStore, count: int) -> None:
        self._data = store.data
        actor = ray.remote(num_cpus=0)(Consumer)
        self._actors = [actor.remote(store.uri, rank, count) for rank in range(count)]
        ray.get([actor.ready.remote() for actor in self._actors])

    def run(
        self, config: PlanConfig, start: int, stop: int, steps: int | None = None, marks: Collection[int] = ()
    ) -> ConsumersRun:
        """Take the batches of steps start … stop, or the first `steps` of them."""
        count = len(self._actors)
        begun = time.time()
        splits = shuffler.dataset(self._data, config, start, stop, count).streaming_split(count, equal=True)
        wanted = (config, start, stop, steps or stop - start, set(marks))
        taken: list[Taken] = ray.get([actor.take.remote(splits, *wanted) for actor in self._actors])
        return ConsumersRun(
            first_s=max(one.first for one in taken) - begun,
            pairs_per_s=sum(one.pairs / max(one.last - one.first, 1e-9) for one in taken),
            times=taken[0].times,
        )
