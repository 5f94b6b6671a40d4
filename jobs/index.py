"""Build FAISS shards, one or more a language, of a collection."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import IndexConfig
from hbt_ray.job import main


def run(config: IndexConfig) -> dict[str, Any]:
    """Build."""
    from hbt_ray.search.build import build_index

    return build_index(config)


if __name__ == "__main__":
    main(IndexConfig, run)
