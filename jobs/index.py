"""Build FAISS shards, one or more a language, from embedding parts."""

from __future__ import annotations

import hbt_ray
from hbt_ray.config import IndexConfig
from hbt_ray.job import main

if __name__ == "__main__":
    main(IndexConfig, lambda config: hbt_ray.build_index(config))
