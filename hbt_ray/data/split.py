"""Second level of a shuffle with many partitions: what the first stage wrote for some of them, divided among these.

Two levels keep the number of requests linear in the input: a task reads of, and writes for, `Sizes.fan_out` others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray

from hbt_ray.data import exchange
from hbt_ray.data.exchange import Runs
from hbt_ray.data.keys import partitions_of
from hbt_ray.data.stage import stage_file


@dataclass(frozen=True)
class SplitStage:
    """What all parts of this stage have in common; a call does one part.

    Attributes:
        width: partitions that a segment of the first stage is for.
        blocks: references to Runs of the first stage.
    """

    folder: str
    seed: int
    partitions: int
    width: int
    blocks: list[Any]

    def __call__(self, number: int, value: list[int]) -> dict[str, Any]:
        """Write the records of one segment of each run, `value` being the block and the segment, by partition.

        Returns: where the partitions begin, `offsets` [partitions of the segment + 1] in bytes.
        """
        block, segment = value
        runs: Runs = ray.get(self.blocks[block])
        tables = list(exchange.read_segments(runs.segments(segment)))
        first = segment * self.width
        count = min(self.width, self.partitions - first)
        divided = iter(())
        if tables:
            table = pa.concat_tables(tables)
            partition = partitions_of(table["group"].to_numpy(), self.seed, self.partitions)
            divided = exchange.divided(table, partition - first, count)
        offsets = exchange.write_segments(stage_file(self.folder, number, ".arrows"), divided)
        return {"offsets": offsets if tables else [0] * (count + 1)}
