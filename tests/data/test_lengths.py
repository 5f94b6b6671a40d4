"""Bins of text lengths."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.data import lengths

LENGTHS = st.lists(st.integers(0, 20_000), max_size=200).map(np.array)


def test_bins_are_exact_when_short_and_narrow_when_long() -> None:
    assert lengths.bin_of(np.arange(17)).tolist() == list(range(17))
    width = np.diff(lengths.edges)
    assert (width > 0).all()
    assert (width[16:] <= lengths.edges[16:-1] * 0.125).all()
    octave = np.arange(33, 65)  # 8 bins between two powers of two, the upper one within
    assert np.unique(lengths.bin_of(octave), return_counts=True)[1].tolist() == [4] * 8
    powers = 2 ** np.arange(5, 15)
    assert (lengths.bin_of(powers) + 1 == lengths.bin_of(powers + 1)).all()


@given(LENGTHS, LENGTHS)
def test_histograms_count_add_and_tell_percentiles(one: np.ndarray, other: np.ndarray) -> None:
    counts = lengths.histogram(one)
    assert sum(counts) == len(one)
    assert not counts or counts[-1] > 0
    for place, count in enumerate(counts):
        inside = (one >= lengths.edges[place]) & (one < lengths.edges[place + 1])
        assert inside.sum() == count
    both = np.concatenate([one, other])
    assert lengths.add(counts, lengths.histogram(other)) == lengths.histogram(both)
    if len(both):
        exact = np.quantile(both, 0.95, method="inverted_cdf")
        assert exact <= lengths.percentile(lengths.histogram(both), 95) <= exact * 1.125
