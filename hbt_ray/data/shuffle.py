"""How the records of the first stage reach the partitions of the second: at once, or of many partitions by a level
between, in which each task reads some runs' segments for some partitions and divides them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import ray

from hbt_ray.data.exchange import Runs
from hbt_ray.data.pieces import Sizes
from hbt_ray.data.split import SplitStage
from hbt_ray.data.stage import Stage, stage_file
from hbt_ray.data.tally import Tally


class FirstStage(NamedTuple):
    """What the first stage wrote and counted.

    Attributes:
        blocks: references to Runs, together all of its files.
        quarantined: records that are bad, by reason.
    """

    blocks: list[Any]
    tally: Tally
    quarantined: Counter[str]


class Level(NamedTuple):
    """What the second stage reads.

    Attributes:
        width: partitions that the same runs are for.
        runs: references to Runs, for every `width` partitions one.
    """

    width: int
    runs: list[Any]


def width(partitions: int, sizes: Sizes) -> int:
    """The number of partitions that a segment of the first stage is for: one, unless the shuffle has two levels. A run
    has as many segments as it may, so that what a task of the second level takes of many runs is small."""
    return -(-partitions // sizes.fan_out)


def first_stage(reading: Stage, partitions: int, sizes: Sizes) -> FirstStage:
    """Gather what the parts of the first stage committed; the driver holds one block of it at a time."""
    tally, quarantined = Tally(), Counter[str]()

    def runs() -> Iterator[tuple[str, list[int]]]:
        for number, commit in enumerate(reading.commits()):
            quarantined.update(commit["quarantined"])
            tally.add_commit(commit["tally"])
            yield from ((stage_file(reading.folder, number, ".arrows"), of_run) for of_run in commit["offsets"])

    found = runs()
    most = None if width(partitions, sizes) == 1 else sizes.fan_out
    blocks = [_put([first, *islice(found, most and most - 1)]) for first in found]
    return FirstStage(blocks, tally, quarantined)


def divide(root: str, seed: int, sizes: Sizes, partitions: int, blocks: list[Any]) -> Level:
    """Bring the blocks of the first stage to the partitions; `root` is the folder of the stages [URI]."""
    wide = width(partitions, sizes)
    if wide == 1:
        return Level(partitions, blocks)
    segments = -(-partitions // wide)
    parts = [[block, segment] for segment in range(segments) for block in range(len(blocks))]
    stage = Stage(root, "split", parts)
    stage.run(SplitStage(stage.folder, seed, partitions, wide, blocks))
    files = ((stage_file(stage.folder, number, ".arrows"), commit) for number, commit in enumerate(stage.commits()))
    of_segment = ([(uri, commit["offsets"]) for uri, commit in islice(files, len(blocks))] for _ in range(segments))
    return Level(wide, [_put(runs) for runs in of_segment])


def _put(runs: list[tuple[str, list[int]]]) -> Any:
    return ray.put(Runs([uri for uri, _ in runs], np.array([offsets for _, offsets in runs], dtype=np.int64)))
