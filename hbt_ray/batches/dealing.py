"""Which rank gets which rows of a batch: as many as every other, and about as much to compute."""

from __future__ import annotations

import numpy as np


def deal(costs: np.ndarray, ranks: int) -> np.ndarray:
    """Share the rows of each step out to ranks: from the dearest down, one to each in a turn, the dearest of it to the
    rank that has the least so far.

    Args:
        costs: int64 [steps, rows], of which every rank gets as many.

    Returns: the numbers of the rows that each rank gets, int64 [steps, ranks, rows / ranks], ascending.
    """
    steps, rows = costs.shape
    turns = np.argsort(-costs, axis=1, kind="stable").reshape(steps, rows // ranks, ranks)
    dealt = np.empty((steps, ranks, rows // ranks), dtype=np.int64)
    loads = np.zeros((steps, ranks), dtype=np.int64)
    for number in range(rows // ranks):
        turn = turns[:, number]
        least = np.argsort(loads, axis=1, kind="stable")
        np.put_along_axis(dealt[:, :, number], least, turn, axis=1)
        more = np.take_along_axis(loads, least, axis=1) + np.take_along_axis(costs, turn, axis=1)
        np.put_along_axis(loads, least, more, axis=1)
    dealt.sort(axis=2)
    return dealt
