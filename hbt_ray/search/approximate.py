"""Approximate shards, of any factory string that `factory.py` takes: what they find, and the memory that they need.

A score is what FAISS says of the vector as its index holds it. Equal scores still rank by descending id.
"""

from __future__ import annotations

import faiss
import numpy as np
import pyarrow as pa

from hbt_ray.search import knobs
from hbt_ray.search.flat import MARGIN
from hbt_ray.search.found import Found, compact, highest


class Approximate:
    """One shard: a FAISS index and its rows' ids, large_string in descending order."""

    def __init__(self, index: faiss.Index, ids: pa.Array) -> None:
        self.index = index
        self.ids = ids

    def best(self, queries: np.ndarray, k: int, effort: int | None) -> Found:
        """The min(k, rows) best documents that FAISS finds for each of the queries, fp32 [queries, width].

        Where it finds fewer, the list ends with the id "" and the score minus infinity.

        Args:
            effort: value of the index's knob, as `knobs.py` has it; None leaves that of the file.
        """
        knobs.turn(self.index, effort)
        rows = len(self.ids)
        rough, found = self.index.search(queries, min(k + MARGIN, rows))
        absent = found < 0
        # An absent one is a row of its own after the last, because ranks are distinct.
        rough[absent], found[absent] = -np.inf, (rows + np.broadcast_to(np.arange(found.shape[1]), found.shape))[absent]
        positions, scores = highest(rough, found, k)
        ids = pa.concat_arrays([self.ids, pa.array([""], pa.large_string())])
        return compact(ids, np.minimum(positions, rows), scores)


def row_bytes(index: faiss.Index) -> int:
    """The memory that one row takes, in the codes that refine a search too [bytes]."""
    refined = sum(row_bytes(layer.refine_index) for layer in knobs.refinements(index))
    return refined + _own_bytes(knobs.inner(index))


def _own_bytes(inner: faiss.Index) -> int:
    if isinstance(inner, faiss.IndexIVF):
        return int(inner.code_size) + 8
    if isinstance(inner, faiss.IndexHNSW):
        # links on the ground, and few above; faiss's type stubs know only half of HNSW
        links = inner.hnsw.nb_neighbors(0) + 2  # type: ignore[attr-defined]
        return row_bytes(inner.storage) + 4 * links + 16
    try:
        return int(inner.sa_code_size())
    except RuntimeError:  # a kind that does not say: as much as the vector and as many links
        return 8 * int(inner.d)


def centroid_bytes(index: faiss.Index) -> int:
    """The memory of the centroids of an index's lists, which every shard holds [bytes]."""
    inner = knobs.inner(index)
    return 4 * int(index.d) * int(inner.nlist) if isinstance(inner, faiss.IndexIVF) else 0


def training_bytes(index: faiss.Index, sample: int) -> int:
    """The memory that training takes [bytes]: `sample` vectors, their copy by k-means, and its centroids twice."""
    return 8 * int(index.d) * sample + 2 * centroid_bytes(index)
