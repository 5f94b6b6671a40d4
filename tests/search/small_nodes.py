"""Searches an index on a cluster of three nodes of one CPU each; ends with an error unless all documents come."""

from __future__ import annotations

import sys

import numpy as np
import ray
from clusters import start

from hbt_ray.search.searcher import Searcher

cluster, _ = start()
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
with Searcher(sys.argv[1]) as searcher:
    found = searcher.search(np.eye(1, 24, dtype=np.float32), 7).ids
ray.shutdown()
cluster.shutdown()
sys.exit(0 if found.shape == (1, 7) and found.all() else 1)
