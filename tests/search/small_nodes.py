"""Searches an index on a cluster of three nodes of one CPU each, by one and then by several at once; ends with an error
unless all documents come."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import ray
from clusters import start

from hbt_ray.search.searcher import Searcher

SEARCHERS, ROUNDS = 6, 12  # whose actors do not all fit


def documents(actors: int | None) -> int:
    """How many of 7 documents come."""
    with Searcher(sys.argv[1], actors=actors) as searcher:
        return sum(map(bool, searcher.search(np.eye(1, 24, dtype=np.float32), 7).ids[0]))


cluster, _ = start()
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
assert documents(None) == 7
with ThreadPoolExecutor(SEARCHERS) as pool:
    assert set(pool.map(documents, [3] * ROUNDS)) == {7}
ray.shutdown()
cluster.shutdown()
