"""Ranked lists of documents, and how those of several sets of documents become the lists of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LOW = np.int64(0xFFFFFFFF)  # the lower half of a number of 64 bits


class Found(NamedTuple):
    """Ranked lists of equal length, best first: by score and then by id, both descending.

    Attributes:
        ids: the documents in any list, large_string, each once and in descending order.
        places: places of the documents in `ids`, int64 [queries, k].
        scores: fp32 [queries, k].
    """

    ids: pa.Array
    places: np.ndarray
    scores: np.ndarray


def compact(ids: pa.Array, places: np.ndarray, scores: np.ndarray) -> Found:
    """Ranked lists whose `ids`, large_string in descending order, are only those that occur in one.

    Args:
        places: int64 [queries, k], in `ids`.
        scores: fp32 [queries, k].
    """
    used = np.zeros(len(ids), dtype=bool)
    used[places] = True
    return Found(ids.filter(pa.array(used)), (np.cumsum(used) - 1)[places], scores)


def combine(lists: Sequence[Found], k: int) -> Found:
    """The k best, or all, of the lists that different documents gave to the same queries, one list at least."""
    if len(lists) == 1:
        return lists[0]
    ids = pa.concat_arrays([found.ids for found in lists])
    order = pc.array_sort_indices(ids, order="descending").to_numpy()
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    first = np.cumsum([0, *(len(found.ids) for found in lists)])
    places = np.concatenate([ranks[found.places + start] for found, start in zip(lists, first, strict=False)], axis=1)
    return compact(ids.take(pa.array(order)), *highest(np.concatenate([f.scores for f in lists], axis=1), places, k))


def highest(scores: np.ndarray, ranks: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k highest scores of each row in descending order, of equal ones the lower rank first.

    Sorts one number for each score, which holds the score's bits above its rank: several times as fast as argsort.

    Args:
        scores: fp32 [rows, columns].
        ranks: int64 [rows, columns] or [columns], below 2^32 and distinct in a row.

    Returns: ranks, int64, and scores, fp32, [rows, min(k, columns)] each.
    """
    keys = _ordered((scores + np.float32(0)).view(np.int32)).astype(np.int64) << 32  # -0 becomes 0
    keys |= LOW - ranks
    keys.sort(axis=1)
    best = keys[:, ::-1][:, :k]
    return LOW - (best & LOW), _ordered((best >> 32).astype(np.int32)).view(np.float32)


def _ordered(bits: np.ndarray) -> np.ndarray:
    """Bits of fp32 numbers as integers in the numbers' order, or such integers as the bits."""
    ordered: np.ndarray = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return ordered
