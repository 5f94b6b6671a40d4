"""Measures: exact average precision is trec_eval's, and every measure is right on one tiny run."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.evaluation.bias import rank_distance
from hbt_ray.evaluation.metrics import average_precision, group_ranks, macro, trec_measures
from hbt_ray.index.search import Hits


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=60).filter(any), min_size=1, max_size=8))
def test_average_precision_is_trec_eval_map_of_the_full_list(lists: list[list[bool]]) -> None:
    """`lists[q][i]`: whether the document at rank i + 1 is relevant to query q."""
    qrel = {str(q): {f"d{i}": 1 for i, hit in enumerate(row) if hit} for q, row in enumerate(lists)}
    run = {str(q): {f"d{i}": float(-i) for i in range(len(row))} for q, row in enumerate(lists)}
    expected = pytrec_eval.RelevanceEvaluator(qrel, {"map"}).evaluate(run)
    pairs = [(q, i + 1) for q, row in enumerate(lists) for i, hit in enumerate(row) if hit]
    shuffled = np.random.default_rng(0).permutation(np.array(pairs))
    groups, offsets, ranks = group_ranks(shuffled[:, 0], shuffled[:, 1])
    assert groups.tolist() == list(range(len(lists)))
    ours = average_precision(offsets, ranks)
    assert ours == pytest.approx([expected[str(q)]["map"] for q in groups], abs=1e-6)


def test_ranks_of_queries_without_any_are_left_out() -> None:
    groups, offsets, ranks = group_ranks(np.array([7, 2, 7]), np.array([5, 1, 2]))
    assert (groups.tolist(), offsets.tolist(), ranks.tolist()) == ([2, 7], [0, 1, 3], [1, 2, 5])
    assert average_precision(offsets, ranks).tolist() == [1.0, (1 / 2 + 2 / 5) / 2]
    assert average_precision(np.array([0]), np.array([])).tolist() == []


def test_rank_distance() -> None:
    distance = rank_distance(np.array([0, 1, 4]), np.array([3, 2, 5, 11]))
    assert np.isnan(distance[0])
    assert distance[1] == 9


def test_measures_on_a_tiny_run() -> None:
    ids = np.array([[f"d{i}" for i in range(20)]] * 3, dtype=object)
    scores = np.tile(np.arange(20, 0, -1, dtype=np.float32), (3, 1))
    measures = trec_measures(Hits(ids, scores), [["d0", "d1"], ["d9", "other"], ["d10"]])
    assert measures["mrr@10"] == pytest.approx([1, 0.1, 0])
    assert measures["success@1"] == pytest.approx([1, 0, 0])
    assert measures["recall@10"] == pytest.approx([1, 0.5, 0])
    assert measures["recall@100"] == pytest.approx([1, 0.5, 1])
    assert measures["map@20"] == pytest.approx([1, 0.05, 1 / 11], abs=1e-6)
    gain = 1 / np.log2(11)
    assert measures["ndcg@10"] == pytest.approx([1, gain / (1 + 1 / np.log2(3)), 0], abs=1e-6)


def test_ties_rank_as_in_our_lists() -> None:
    """trec_eval orders equal scores by descending id, as search does."""
    hits = Hits(np.array([["de:b", "de:a"]], dtype=object), np.ones((1, 2), dtype=np.float32))
    assert trec_measures(hits, [["de:b"]])["mrr@10"] == [1.0]
    assert trec_measures(hits, [["de:a"]])["mrr@10"] == [0.5]


def test_macro() -> None:
    assert macro([0.5, None, 1.0]) == 0.75
    assert macro([None]) is None
