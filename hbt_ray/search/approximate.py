"""Approximate shards, of any FAISS factory string: what they need, what they find, and the one knob that each kind has.

A score is what FAISS says of the vector as its index holds it. Equal scores still rank by descending id.
"""

from __future__ import annotations

import re

import faiss
import numpy as np
import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.search.flat import MARGIN
from hbt_ray.search.found import Found, compact, highest

CANDIDATES = [16, 32, 64, 128, 256, 512, 1024]  # of efSearch
SOURCE_LINE = re.compile(r"\.(?:cpp|h):\d+: ")  # stands before what FAISS has to say


class Approximate:
    """One shard: a FAISS index and its rows' ids, large_string in descending order."""

    def __init__(self, index: faiss.Index, ids: pa.Array) -> None:
        self.index = index
        self.ids = ids

    def best(self, queries: np.ndarray, k: int, effort: int | None) -> Found:
        """The min(k, rows) best documents that FAISS finds for each of the queries, fp32 [queries, width].

        Where it finds fewer, the list ends with the id "" and the score minus infinity.

        Args:
            effort: value of the index's `knob`; None leaves FAISS's own.
        """
        name = knob(self.index)
        if effort is not None and name:
            faiss.ParameterSpace().set_index_parameter(self.index, name, effort)
        rows = len(self.ids)
        rough, found = self.index.search(queries, min(k + MARGIN, rows))
        absent = found < 0
        # An absent one is a row of its own after the last, because ranks are distinct.
        rough[absent], found[absent] = -np.inf, (rows + np.broadcast_to(np.arange(found.shape[1]), found.shape))[absent]
        positions, scores = highest(rough, found, k)
        ids = pa.concat_arrays([self.ids, pa.array([""], pa.large_string())])
        return compact(ids, np.minimum(positions, rows), scores)


def create_index(factory: str, width: int) -> faiss.Index:
    """An empty index.

    Raises:
        UserError: FAISS does not know the factory string, or not for vectors of this width.
    """
    try:
        return faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UserError(f"--factory {factory}: {reason(error)}") from None


def train_index(index: faiss.Index, sample: np.ndarray, factory: str) -> None:
    """Train the index on vectors, fp32 [rows, width].

    Raises:
        UserError: they are too few.
    """
    try:
        index.train(sample)
    except RuntimeError as error:
        raise UserError(f"--factory {factory}: {reason(error)} ({len(sample)} vectors to train on)") from None


def reason(error: RuntimeError) -> str:
    """What an exception of FAISS says, without its place in the source, as one line."""
    return " ".join(SOURCE_LINE.split(str(error))[-1].split())


def knob(index: faiss.Index) -> str | None:
    """The parameter that trades time for recall: nprobe (lists visited), efSearch (candidates kept), or nothing."""
    inner = _inner(index)
    if isinstance(inner, faiss.IndexIVF):
        return "nprobe"
    return "efSearch" if isinstance(inner, faiss.IndexHNSW) else None


def efforts(index: faiss.Index) -> list[int]:
    """The values of the knob worth trying, ascending: for nprobe powers of two and at last all lists."""
    inner = _inner(index)
    if isinstance(inner, faiss.IndexIVF):
        lists = int(inner.nlist)
        return [*(2**power for power in range((lists - 1).bit_length())), lists]
    return CANDIDATES if knob(index) else []


def row_bytes(index: faiss.Index) -> int:
    """The memory that one row takes [bytes]."""
    inner = _inner(index)
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
    inner = _inner(index)
    return 4 * int(index.d) * int(inner.nlist) if isinstance(inner, faiss.IndexIVF) else 0


def training_bytes(index: faiss.Index, sample: int) -> int:
    """The memory that training takes [bytes]: `sample` vectors, their copy by k-means, and its centroids twice."""
    return 8 * int(index.d) * sample + 2 * centroid_bytes(index)


def _inner(index: faiss.Index) -> faiss.Index:
    """The index behind transformations of its vectors."""
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    return index
