"""The test of a comparison: its error rate where there is no difference, its power, and what it is computed from."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.study.significance import bootstrap_interval, effect_size, holm, item_shares, macro_weights, sign_flip_test

ITEMS, LANGUAGES, SIMULATIONS = 60, 11, 1000
QUESTIONS = np.repeat(np.arange(ITEMS), LANGUAGES)
ASKED_IN = np.tile(np.arange(LANGUAGES), ITEMS)


def simulated(seed: int, effect: float = 0.0) -> np.ndarray:
    """Differences of two systems on questions in 11 languages [rows]: what a system finds hard in one language, it
    finds hard in the others. `effect` in standard deviations of an item's mean."""
    rng = np.random.default_rng([7, seed])
    items = rng.normal(effect * 0.1, 0.1, ITEMS)
    rows: np.ndarray = items[QUESTIONS] + rng.normal(0, 0.1, len(QUESTIONS))
    return rows


def p_value(differences: np.ndarray, units: np.ndarray, permutations: int = 199, seed: int = 0) -> float:
    shares = item_shares(units, ASKED_IN, differences, int(units.max()) + 1)
    return float(sign_flip_test(shares[:, None], permutations, seed)[0])


def test_false_positives_where_items_are_repeated_in_languages() -> None:
    queries = np.arange(len(QUESTIONS))
    by_item, by_query, covered = [], [], []
    for seed in range(SIMULATIONS):
        differences = simulated(seed)
        by_item.append(p_value(differences, QUESTIONS, seed=seed))
        by_query.append(p_value(differences, queries, seed=seed))
        low, high = bootstrap_interval(QUESTIONS, ASKED_IN, differences, 200, seed)
        covered.append(low <= 0 <= high)
    assert 0.03 <= np.mean(np.array(by_item) <= 0.05) <= 0.07
    assert np.mean(np.array(by_query) <= 0.05) > 0.2  # what clustering is for
    assert 0.92 <= np.mean(covered) <= 0.97


def test_power_grows_with_the_effect() -> None:
    found = [np.mean([p_value(simulated(seed, effect), QUESTIONS) <= 0.05 for seed in range(100)])
             for effect in (0.0, 0.2, 0.4, 0.8)]  # fmt: skip
    assert found == sorted(found)
    assert found[0] < 0.15
    assert found[-1] == 1.0


def test_the_same_seed_gives_the_same_figures() -> None:
    differences = simulated(3, 0.2)
    assert p_value(differences, QUESTIONS, seed=5) == p_value(differences, QUESTIONS, seed=5)
    assert p_value(differences, QUESTIONS, seed=5) != p_value(differences, QUESTIONS, seed=6)
    intervals = {bootstrap_interval(QUESTIONS, ASKED_IN, differences, 300, seed) for seed in (5, 5, 6)}
    assert len(intervals) == 2


def test_p_is_never_0_and_1_for_equal_systems() -> None:
    assert p_value(np.ones(len(QUESTIONS)), QUESTIONS, 99) == 1 / 100
    assert p_value(np.zeros(len(QUESTIONS)), QUESTIONS, 99) == 1.0


def test_p_is_scipys() -> None:
    shares = np.random.default_rng(0).normal(0.3, 1.0, 12)
    exact = scipy.stats.permutation_test((shares,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(shares[:, None], 20_000, 0)[0] == pytest.approx(exact.pvalue, abs=0.01)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(-1, 1)), min_size=1, max_size=40))
def test_shares_add_up_to_the_difference_of_macro_averages(rows: list[tuple[int, int, float]]) -> None:
    items, groups, values = (np.array(column) for column in zip(*rows, strict=True))
    macro = np.mean([np.mean([value for _, g, value in rows if g == group]) for group in {g for _, g, _ in rows}])
    assert macro_weights(groups) @ values == pytest.approx(macro, abs=1e-12)
    assert item_shares(items, groups, values, 6).sum() == pytest.approx(macro, abs=1e-12)
    low, high = bootstrap_interval(items, groups, values, 20, 0)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_holm() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_effect_size() -> None:
    assert effect_size(np.array([1.0, 3.0])) == pytest.approx(2 / np.sqrt(2))
    assert effect_size(np.array([0.1, 0.1, 0.1])) is None
    assert effect_size(np.array([2.0])) is None
