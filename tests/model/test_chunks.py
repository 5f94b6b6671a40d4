"""Chunks hold every text once, within their budget, in as many chunks as all ranks have agreed on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.model import chunks

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=40).map(np.array)


@given(LENGTHS, st.integers(1, 300))
def test_every_text_once_within_the_budget(lengths: np.ndarray, budget: int) -> None:
    found = chunks.cut_chunks(lengths, budget)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for chunk in found:
        assert len(chunk) == 1 or len(chunk) * lengths[chunk].max() <= budget
    longest = [int(lengths[chunk].max()) for chunk in found]
    assert longest == sorted(longest, reverse=True)


@given(LENGTHS, st.integers(1, 300), st.data())
def test_any_number_of_chunks_up_to_one_a_text(lengths: np.ndarray, budget: int, data: st.DataObject) -> None:
    found = chunks.cut_chunks(lengths, budget)
    count = data.draw(st.integers(len(found), len(lengths)))
    more = chunks.into_chunks(found, count)
    assert len(more) == count
    assert min(len(chunk) for chunk in more) > 0
    assert np.concatenate(more).tolist() == np.concatenate(found).tolist()


def test_more_chunks_than_texts_cannot_be() -> None:
    with pytest.raises(ValueError, match="3 texts cannot be cut into 4 chunks"):
        chunks.into_chunks(chunks.cut_chunks(np.array([5, 5, 5]), 100), 4)
