"""Permutations are permutations, shares are exact."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.batches.order import LONGEST, Purpose, Shares, mix, permute


def places(length: int, key: int, positions: np.ndarray | None = None) -> np.ndarray:
    positions = np.arange(length) if positions is None else positions
    return permute(positions, np.full(len(positions), length), np.full(len(positions), key, dtype=np.uint64))


@given(length=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_permute_reaches_every_place_once(length: int, key: int) -> None:
    assert np.array_equal(np.sort(places(length, key)), np.arange(length))


@given(start=st.integers(0, LONGEST - 100), key=st.integers(0, 2**64 - 1))
def test_permute_of_the_longest_sequence_does_not_overflow(start: int, key: int) -> None:
    found = places(LONGEST, key, np.arange(start, start + 100))
    assert len(set(found.tolist())) == 100
    assert found.min() >= 0
    assert found.max() < LONGEST


def test_permutations_look_random() -> None:
    """Where a place goes, what comes after what, and how far neighbours part: all near what chance gives."""
    keys = mix(1, Purpose.PAIR, np.arange(4000))
    where = np.stack([places(12, int(key)) for key in keys])
    expected = len(keys) / 12
    for position in range(12):
        counts = np.bincount(where[:, position], minlength=12)
        assert ((counts - expected) ** 2 / expected).sum() < 45  # chi square, 11 degrees of freedom: p < 1e-5
    follows = np.bincount((np.diff(where, axis=1) % 12).ravel(), minlength=12)[1:]
    assert np.abs(follows / follows.sum() - 1 / 11).max() < 0.005
    long = np.concatenate([places(1024, int(key)) for key in keys[:50]]).reshape(50, 1024)
    distance = np.abs(np.diff(long, axis=1)).mean()
    assert abs(distance - 1024 / 3) < 8
    assert np.abs(np.corrcoef(long[:, :-1].ravel(), long[:, 1:].ravel())[0, 1]) < 0.02


@given(
    weights=st.lists(st.lists(st.integers(0, 500), min_size=1, max_size=40).filter(any), min_size=1, max_size=4),
    chosen=st.integers(0, 3),
)
def test_shares_are_exact_after_a_pass_and_never_fall(weights: list[list[int]], chosen: int) -> None:
    shares = Shares([np.array(members) for members in weights])
    sequence = chosen % len(weights)
    members = np.array(weights[sequence])
    total = int(members.sum())
    draws = np.arange(min(total, 200) + 1)
    counts = shares.counts(int(shares.depth[sequence]), np.full(len(draws), sequence), draws)[:, : len(members)]
    assert (counts.sum(axis=1) == draws).all()
    assert (np.diff(counts, axis=0) >= 0).all()
    whole = shares.counts(int(shares.depth[sequence]), np.full(3, sequence), np.array([0, total, 10**9 * total]))
    assert whole[:, : len(members)].tolist() == [[0] * len(members), members.tolist(), (10**9 * members).tolist()]


def test_shares_stay_near_their_weights_at_every_moment() -> None:
    weights = np.random.default_rng(0).integers(1, 1000, size=33)
    draws = np.arange(0, 40_000, 97)
    counts = Shares([weights]).counts(6, np.zeros_like(draws), draws)[:, :33]
    assert np.abs(counts - draws[:, None] * weights / weights.sum()).max() < 3


def test_mix_is_keyed() -> None:
    numbers = mix(1, Purpose.ROW_GROUP, np.arange(10_000))
    assert len(np.unique(numbers)) == 10_000
    assert not np.array_equal(numbers, mix(1, Purpose.PAIR, np.arange(10_000)))
    assert not np.array_equal(numbers, mix(2, Purpose.ROW_GROUP, np.arange(10_000)))
    assert abs((numbers >> np.uint64(63)).mean() - 0.5) < 0.02
