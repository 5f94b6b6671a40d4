"""A rank's slice as tensors: stored tokens dressed with prefix and special tokens, and padded. Whole columns at a time:
nothing here runs once a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hbt_ray.batches.chunk import Slice
from hbt_ray.batches.order import mix
from hbt_ray.data.tokenizer import Frame
from hbt_ray.train.encoder import Encoder
from hbt_ray.train.loss import NO_PASSAGE


class Collator:
    """Slices to the inputs of `Contrastive`."""

    def __init__(self, encoder: Encoder, hard_negatives: int, device: torch.device) -> None:
        self._query = Dresser(encoder.frame("query"), encoder.limits["query"], encoder.tokenizer.pad_token_id)
        self._passage = Dresser(encoder.frame("passage"), encoder.limits["passage"], encoder.tokenizer.pad_token_id)
        self._hard_negatives = hard_negatives
        self._device = device

    def __call__(self, part: Slice) -> dict[str, Any]:
        """`query` and `passage` (padded `input_ids`, `attention_mask`, int64 [texts, tokens]; the positives first),
        `groups` (int64 [rows]) and `keys` (int64 [rows * (1 + hard negatives)]), as `info_nce` wants them."""
        passages = part.pairs["passage"].combine_chunks()
        keys = [_keys(passages)]
        if self._hard_negatives:
            negatives, there = _negatives(part, self._hard_negatives)
            keys.append(np.where(there, _keys(negatives), NO_PASSAGE))
            passages = pa.concat_arrays([passages, negatives])
        return {
            "query": self._to_device(self._query(part.pairs["query"].combine_chunks())),
            "passage": self._to_device(self._passage(passages)),
            "groups": torch.from_numpy(part.pairs["group"].to_numpy().copy()).to(self._device),
            "keys": torch.from_numpy(np.concatenate(keys)).to(self._device),
        }

    def _to_device(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in tensors.items()}


class Dresser:
    """Stored texts of one role to padded tensors."""

    def __init__(self, frame: Frame, limit: int, padding: int) -> None:
        self._frame = frame
        self._room = max(limit - len(frame.head) - len(frame.tail), 0)
        self._padding = padding

    def __call__(self, texts: pa.ListArray) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, int64 [texts, longest], of token ids without special tokens."""
        head, tail = self._frame.head, self._frame.tail
        offsets = texts.offsets.to_numpy().astype(np.int64)
        lengths = np.minimum(np.diff(offsets), self._room)
        total = lengths + len(head) + len(tail)
        column = np.arange(total.max(initial=1))
        ids = np.full((len(texts), len(column)), self._padding, dtype=np.int64)
        ids[:, : len(head)] = head
        text = (column >= len(head)) & (column < (lengths + len(head))[:, None])
        ids[text] = texts.values.to_numpy()[_places(offsets[:-1], lengths)]
        ends = (lengths + len(head))[:, None] + np.arange(len(tail))
        np.put_along_axis(ids, ends, tail.astype(np.int64)[None, :], axis=1)
        mask = (column < total[:, None]).astype(np.int64)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def _places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray | slice:
    """Where the values of runs of `lengths` from `starts` are: a slice when they follow each other."""
    if len(starts) and (starts[1:] == starts[:-1] + lengths[:-1]).all():
        return slice(int(starts[0]), int(starts[-1] + lengths[-1]))
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())


def _negatives(part: Slice, count: int) -> tuple[pa.ListArray, np.ndarray]:
    """`count` hard negatives of each row, first those of choice 0, and which of them are there; the others are empty.

    With more at hand than used, each pass over the data meets others.
    """
    lists = part.pairs["negatives"].combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    at_hand = np.diff(offsets)
    choice = np.arange(count)[:, None]
    chosen = offsets[:-1] + (part.step + choice) % np.maximum(at_hand, 1)
    there = choice < at_hand
    picked = lists.values.take(pa.array(np.where(there, chosen, 0).ravel(), mask=~there.ravel()))
    return picked.fill_null([]), there.ravel()


def _keys(texts: pa.ListArray) -> np.ndarray:
    """A 63-bit number of each text, int64, equal for equal token ids (multilinear hashing: Lemire and Kaser 2014)."""
    offsets = texts.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(offsets)
    tokens = texts.values.to_numpy()[offsets[0] : offsets[-1]].astype(np.uint64)
    place = np.arange(len(tokens)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    tokens += np.uint64(1)  # so that a token 0 counts
    tokens *= mix(0, 5, np.arange(lengths.max(initial=0)))[place]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(tokens)])[offsets - offsets[0]]
    return (mix(6, np.diff(sums)) >> np.uint64(1)).astype(np.int64)
