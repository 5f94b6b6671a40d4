"""Build FAISS shards, one or more a language, from embedding parts."""

from __future__ import annotations

from hbt_ray.config import IndexConfig
from hbt_ray.job import main
from hbt_ray.search.build import build_index

if __name__ == "__main__":
    main(IndexConfig, build_index)
