"""Rows dealt out to ranks: each once, as many to each, and about as much to compute."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hbt_ray.batches import chunk
from hbt_ray.batches.dealing import deal


@given(ranks=st.integers(1, 9), each=st.integers(1, 7), steps=st.integers(1, 4), data=st.data())
def test_every_row_once_and_as_many_to_each(ranks: int, each: int, steps: int, data: st.DataObject) -> None:
    costs = data.draw(arrays.arrays(np.int64, (steps, ranks * each), elements=st.integers(0, 600)))
    dealt = deal(costs, ranks)
    assert dealt.shape == (steps, ranks, each)
    assert (np.sort(dealt.reshape(steps, -1), axis=1) == np.arange(ranks * each)).all()
    assert (np.diff(dealt, axis=2) > 0).all()
    loads = np.take_along_axis(costs[:, None], dealt.reshape(steps, 1, -1), axis=2).reshape(dealt.shape).sum(axis=2)
    assert (loads.max(axis=1) - loads.min(axis=1) <= costs.max(axis=1)).all()  # no turn makes a difference larger


class Long:
    """What `chunk.shape` asks of a store of a billion pairs of 16 and 150 tokens."""

    rows = 10**9
    tokens = (16 * 10**9, 150 * 10**9)
    streams: list[type[Long]]


Long.streams = [Long]


@pytest.mark.parametrize(("ranks", "each"), [(2, 128), (64, 16), (1024, 32)])
def test_the_slowest_rank_has_hardly_more_than_the_mean(ranks: int, each: int) -> None:
    """Lengths as of real pairs: log-normal around 16 and 150 tokens with a spread of 0.5, cut at 64 and 512."""
    chance = np.random.default_rng(0)
    parts = chunk.shape(Long, ranks * each, ranks).parts(ranks)  # type: ignore[arg-type]
    slowest = []
    for _ in range(20):
        costs = np.zeros(ranks * each, dtype=np.int64)
        for mean, most in ((16, 64), (150, 512)):
            costs += np.clip(chance.lognormal(np.log(mean) - 0.125, 0.5, len(costs)), 1, most).astype(np.int64)
        whole = costs.reshape(ranks, each)
        loads = [
            whole[part.start : part.stop].ravel()[deal(whole[part.start : part.stop].reshape(1, -1), len(part))[0]]
            for part in parts
        ]
        tokens = np.concatenate([load.sum(axis=1) for load in loads])
        slowest.append(tokens.max() / tokens.mean())
    assert np.mean(slowest) <= 1.03
    assert np.mean(slowest) < whole.sum(axis=1).max() / whole.mean() / each  # by place
