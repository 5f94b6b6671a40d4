"""A rank's slice as tensors: stored tokens dressed with prefix and special tokens, and padded."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hbt_ray.batches.chunk import Slice
from hbt_ray.train.encoder import Encoder
from hbt_ray.train.loss import NO_PASSAGE


class Collator:
    """Slices to the inputs of `Contrastive`."""

    def __init__(self, encoder: Encoder, hard_negatives: int, device: torch.device) -> None:
        self._encoder = encoder
        self._query = encoder.frame("query")
        self._passage = encoder.frame("passage")
        self._hard_negatives = hard_negatives
        self._device = device

    def __call__(self, part: Slice) -> dict[str, Any]:
        """`query` and `passage` (padded `input_ids`, `attention_mask`, int64 [texts, tokens]; the positives first),
        `groups` (int64 [rows]) and `keys` (int64 [rows * (1 + hard negatives)]), as `info_nce` wants them."""
        limits = self._encoder.limits
        passages = _rows(part.pairs["passage"])
        keys = [_key(tokens) for tokens in passages]
        for choice in range(self._hard_negatives):
            for negatives in part.pairs["negatives"]:
                count = len(negatives)
                # with more at hand than used, each pass over the data meets others
                tokens = negatives[(part.step + choice) % count].values.to_numpy() if choice < count else None
                passages.append(np.empty(0, np.int32) if tokens is None else tokens)
                keys.append(NO_PASSAGE if tokens is None else _key(tokens))
        queries = [self._query.dress(tokens, limits["query"]) for tokens in _rows(part.pairs["query"])]
        dressed = [self._passage.dress(tokens, limits["passage"]) for tokens in passages]
        return {
            "query": self._to_device(self._encoder.pad(queries)),
            "passage": self._to_device(self._encoder.pad(dressed)),
            "groups": torch.from_numpy(part.pairs["group"].to_numpy().copy()).to(self._device),
            "keys": torch.tensor(keys, dtype=torch.int64, device=self._device),
        }

    def _to_device(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in tensors.items()}


def _rows(column: pa.ChunkedArray) -> list[np.ndarray]:
    """Each row's tokens, int32, without a copy."""
    lists = column.combine_chunks()
    values, offsets = lists.values.to_numpy(), lists.offsets.to_numpy()
    return [values[start:stop] for start, stop in pairwise(offsets)]


def _key(tokens: np.ndarray) -> int:
    """A 63-bit number, equal for equal passages."""
    return int.from_bytes(hashlib.blake2b(tokens.tobytes(), digest_size=8).digest(), "little") >> 1
