"""Permutations are permutations, shares are exact."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.batches.order import LONGEST, Shares, mix, permute


@given(length=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_permute_reaches_every_place_once(length: int, key: int) -> None:
    places = permute(np.arange(length), length, np.uint64(key))
    assert np.array_equal(np.sort(places), np.arange(length))


@given(start=st.integers(0, LONGEST - 100), key=st.integers(0, 2**64 - 1))
def test_permute_of_the_longest_sequence_does_not_overflow(start: int, key: int) -> None:
    places = permute(np.arange(start, start + 100), LONGEST, np.uint64(key))
    assert len(set(places.tolist())) == 100
    assert places.min() >= 0
    assert places.max() < LONGEST


@given(weights=st.lists(st.integers(0, 500), min_size=1, max_size=40).filter(any))
def test_shares_are_exact_after_a_pass_and_never_fall(weights: list[int]) -> None:
    shares = Shares(np.array(weights))
    total = sum(weights)
    assert shares.counts(0).tolist() == [0] * len(weights)
    assert shares.counts(total).tolist() == weights
    assert shares.counts(3 * total).tolist() == [3 * weight for weight in weights]
    before = shares.counts(0)
    for draws in range(1, min(total, 200) + 1):
        after = shares.counts(draws)
        assert after.sum() == draws
        assert (after >= before).all()
        before = after


def test_shares_stay_near_their_weights_at_every_moment() -> None:
    weights = np.random.default_rng(0).integers(1, 1000, size=33)
    shares = Shares(weights)
    for draws in range(0, 40_000, 97):
        assert np.abs(shares.counts(draws) - draws * weights / weights.sum()).max() < 3


def test_mix_is_keyed() -> None:
    numbers = mix(1, 2, np.arange(10_000))
    assert len(np.unique(numbers)) == 10_000
    assert not np.array_equal(numbers, mix(1, 3, np.arange(10_000)))
    assert not np.array_equal(numbers, mix(2, 2, np.arange(10_000)))
    assert abs((numbers >> np.uint64(63)).mean() - 0.5) < 0.02
