"""The Ray actor that holds some shards of an index and answers for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np

from hbt_ray.config import UserError
from hbt_ray.search import store
from hbt_ray.search.approximate import Approximate
from hbt_ray.search.flat import Flat
from hbt_ray.search.found import Found


class ShardActor:
    """Holds some shards, which are loaded at first use, also after Ray has restarted the actor."""

    def __init__(self, uri: str, shards: Mapping[str, Mapping[str, Any]], width: int, threads: int, gpus: bool) -> None:
        faiss.omp_set_num_threads(threads)
        self.uri = uri
        self.width = width
        self.entries = shards
        self.gpus = gpus
        self.loaded: dict[str, Flat | Approximate] = {}

    def load(self) -> None:
        """Read and verify all shards.

        Raises:
            UserError: a file is missing or corrupt, or a shard does not fit onto the GPUs.
        """
        for name in self.entries:
            self._shard(name)

    def search(self, name: str, queries: np.ndarray, k: int, effort: int | None) -> Found:
        """The best documents of one shard for queries, fp32 [queries, width]; `effort` is as in `Approximate.best`.

        Raises:
            UserError: the shard is missing or corrupt, or does not fit onto the GPUs.
        """
        shard = self._shard(name)
        if isinstance(shard, Flat):
            return shard.best(queries, k)
        try:
            return shard.best(queries, k, effort)
        except RuntimeError as error:  # of an index that is well-formed and no index
            raise UserError(f"{self.uri}: shard {name} cannot be searched: {error}") from None

    def locate(self, name: str, queries: np.ndarray, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """`Flat.locate` in one shard, for queries, fp32 [documents, width]."""
        return self._flat(name).locate(queries, ids)

    def above(
        self, name: str, queries: np.ndarray, offsets: np.ndarray, scores: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """`Flat.above` in one shard, for queries, fp32 [queries, width]; the count is int64 [documents]."""
        return self._flat(name).above(queries, offsets, scores, positions)

    def _flat(self, name: str) -> Flat:
        shard = self._shard(name)
        assert isinstance(shard, Flat)
        return shard

    def _shard(self, name: str) -> Flat | Approximate:
        if name not in self.loaded:
            self.loaded[name] = store.load_shard(self.uri, self.entries[name], self.width, self.gpus)
        return self.loaded[name]
