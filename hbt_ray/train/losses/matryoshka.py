"""Any loss of the first dimensions of the vectors: Matryoshka representation learning (arXiv 2205.13147)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch.nn import functional

from hbt_ray.train.losses.whole import Loss, Whole


class Matryoshka:
    """The sum of a loss over the first so many dimensions, scaled to unit length again, as in sentence-transformers."""

    def __init__(self, loss: Loss, weights: Mapping[int, float]) -> None:
        """`weights`: factor of the loss by number of dimensions."""
        self._loss = loss
        self._weights = weights

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        """The loss of each of this rank's rows, floating [rows]."""
        parts = [weight * self._loss(_First(whole, dims), temperature) for dims, weight in self._weights.items()]
        return torch.stack(parts).sum(dim=0)


class _First(Whole):
    """The first dimensions of the vectors of a global batch, which is gathered once for all numbers of them."""

    def __init__(self, whole: Whole, dims: int) -> None:
        self._whole, self._dims = whole, dims
        self.queries, self.passages = self._first(whole.queries), self._first(whole.passages)
        self.labels, self.places = whole.labels, whole.places

    @cached_property
    def all_queries(self) -> torch.Tensor:
        return self._first(self._whole.all_queries)

    @cached_property
    def all_passages(self) -> torch.Tensor:
        return self._first(self._whole.all_passages)

    def _first(self, vectors: torch.Tensor) -> torch.Tensor:
        return functional.normalize(vectors[:, : self._dims], dim=-1)
