"""Add hard negatives to pairs: what an index ranks high for a query and is no answer to it."""

from __future__ import annotations

from hbt_ray.config import MineConfig
from hbt_ray.index.mine import mine
from hbt_ray.job import main

if __name__ == "__main__":
    main(MineConfig, mine)
