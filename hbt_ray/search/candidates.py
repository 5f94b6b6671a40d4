"""Candidates of an exact search: what FAISS ranks high, on CPUs or GPUs, and how far its scores may be off."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol

import faiss
import numpy as np

from hbt_ray.config import UserError
from hbt_ray.search import exact

HALF_MOST = 2048  # longest list that FAISS selects on a GPU
HALF_UNIT = 2.0**-11  # unit round-off of fp16
HALF_STEP = 2.0**-25  # what rounding to fp16 changes numbers near 0 by, at most
HALF_LARGEST = 60_000  # norm of vectors that are certainly within the range of fp16
SCRATCH = 2 * 2**30  # memory of a GPU that FAISS takes for its own work [bytes]


class Candidates(Protocol):
    """Finds the vectors that score high, and knows how far its scores may be off."""

    @property
    def most(self) -> int:
        """The longest list it can give."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The scores, fp32 [queries, k], and positions, int64 [queries, k], of the k that score best, descending.

        Args:
            queries: fp32 [queries, width].
            k: less than the number of vectors, and at most `most`.
        """

    def error(self, queries: np.ndarray) -> np.ndarray:
        """A bound on the distance of such a score from the exact inner product, float64 [queries].

        Args:
            queries: fp32 [queries, width].
        """


@dataclass(frozen=True)
class Cpu:
    """All vectors, fp32 [rows, width], in memory; `norm` is the largest of their L2 norms."""

    vectors: np.ndarray
    norm: float
    most: int = sys.maxsize

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The scores, fp32 [queries, k], and positions, int64 [queries, k], as `Candidates` has them."""
        scores, positions = faiss.knn(queries, self.vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return scores, positions

    def error(self, queries: np.ndarray) -> np.ndarray:
        """The bound, float64 [queries], for queries, fp32 [queries, width]."""
        return exact.rounding_error(queries, self.norm, np.float32)


@dataclass(frozen=True)
class Half:
    """A FAISS index of the vectors in fp16, which may also round the queries to fp16 and sums in fp32."""

    index: faiss.Index
    norm: float
    most: int = HALF_MOST

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The scores, fp32 [queries, k], and positions, int64 [queries, k], as `Candidates` has them."""
        scores, positions = self.index.search(queries, k)
        return scores, positions

    def error(self, queries: np.ndarray) -> np.ndarray:
        """The bound, float64 [queries], for queries, fp32 [queries, width]."""
        norms = np.linalg.norm(queries.astype(np.float64), axis=1)
        relative = (2 * HALF_UNIT + HALF_UNIT**2) * norms * self.norm
        near_zero = HALF_STEP * np.sqrt(queries.shape[1]) * (norms + self.norm + 1)
        sums = (1 + HALF_UNIT) ** 2 * exact.rounding_error(queries, self.norm, np.float32)
        bound: np.ndarray = relative + 2 * near_zero + sums
        return bound


def on_gpus(index: faiss.IndexFlat, norm: float) -> Half | None:
    """The index in fp16, spread over all GPUs of this process; None when fp16 cannot hold its numbers.

    Raises:
        UserError: it does not fit, or this FAISS knows no GPU.
    """
    if norm > HALF_LARGEST:
        return None
    if not hasattr(faiss, "StandardGpuResources"):
        raise UserError("searching on GPUs needs faiss-gpu: install hbt-ray[gpu]")
    import torch  # here, since actors that search on CPUs do without

    gpus = range(torch.cuda.device_count())
    free = sum(max(0, torch.cuda.mem_get_info(gpu)[0] - SCRATCH) for gpu in gpus)
    needed = 2 * index.ntotal * index.d
    if needed > free:
        raise UserError(
            f"a shard takes {needed / 2**30:.1f} GiB of GPU memory and {len(gpus)} GPUs of an actor have"
            f" {free / 2**30:.1f} GiB left: more --gpus-per-actor, or more actors"
        )
    options = faiss.GpuMultipleClonerOptions()  # type: ignore[attr-defined]
    options.shard = True
    options.useFloat16 = True
    return Half(faiss.index_cpu_to_all_gpus(index, options, len(gpus)), norm)  # type: ignore[attr-defined]
