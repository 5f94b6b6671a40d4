"""Whether two systems differ: a test, an interval and an effect size of the difference of their headline averages.

A question and its translations are one item, and answers to them rise and fall together: what is flipped and resampled
is the item. A headline average is a mean over groups (languages, or pairs of them) of means over a group's rows, so the
difference of two systems' averages is a sum over items, each item's share.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hbt_ray.arrays import blocks

LEVEL = 0.95  # of the intervals
NUMBERS = 4_000_000  # of a temporary matrix


def macro_weights(groups: np.ndarray) -> np.ndarray:
    """The weights with which rows add up to the mean over groups of the mean over a group's rows, float64 [rows].

    Args:
        groups: number of each row's group, int [rows].
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / (len(sizes) * sizes[group])


def item_shares(items: np.ndarray, groups: np.ndarray, differences: np.ndarray, count: int) -> np.ndarray:
    """What each item adds to the difference of the headline averages, of which it is the sum, float64 [count].

    Args:
        items: number of each row's item, int [rows], below `count`.
        groups: number of each row's group, int [rows].
        differences: difference of the two systems in each row, float64 [rows].
    """
    return np.bincount(items, macro_weights(groups) * differences, count)


def sign_flip_test(shares: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """The p-values of the paired randomisation test, two-sided, float64 [tests].

    If the two systems are alike, an item's share is as likely as its negative. The signs of all items are drawn
    `permutations` times, the same for every test: p is the share of the draws, the observed one among them, whose sum
    is at least as far from 0. So p is never 0. Smucker et al. 2007 (CIKM, 10.1145/1321440.1321528); Phipson and
    Smyth 2010 (arXiv 1603.05766).

    Args:
        shares: what each item adds, float64 [items, tests]; 0 where an item is not in a test.
    """
    observed = np.abs(shares.sum(axis=0))
    reached = observed - 1e-12 * np.abs(shares).sum(axis=0)  # sums of equal numbers in another order
    beyond = np.zeros(shares.shape[1], dtype=np.int64)
    rng = np.random.default_rng(seed)
    for draws in _draws(permutations, len(shares)):
        signs = rng.integers(0, 2, size=(draws, len(shares)), dtype=np.int8) * 2.0 - 1.0
        beyond += (np.abs(signs @ shares) >= reached).sum(axis=0)
    return (beyond + 1) / (permutations + 1)


def bootstrap_interval(
    items: np.ndarray, groups: np.ndarray, differences: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    """The percentile interval at `LEVEL` of the difference of the headline averages, by resampling whole items.

    Percentile, and not BCa: the difference is close to a mean over items, whose distribution has little skew. A group
    of which a resample has no row does not count in it.

    Args:
        items, groups, differences: as `item_shares` has them, int, int and float64, [rows] each.
    """
    distinct, item = np.unique(items, return_inverse=True)
    columns, column = np.unique(groups, return_inverse=True)
    sums, rows = np.zeros((2, len(distinct), len(columns)))
    np.add.at(sums, (item, column), differences)
    np.add.at(rows, (item, column), 1)
    rng = np.random.default_rng(seed)
    averages = []
    for draws in _draws(resamples, len(distinct)):
        chosen = rng.integers(0, len(distinct), size=(draws, len(distinct)))
        chosen += np.arange(draws)[:, None] * len(distinct)
        times = np.bincount(chosen.ravel(), minlength=chosen.size).reshape(chosen.shape).astype(np.float64)
        with np.errstate(invalid="ignore"):
            averages.append(np.nanmean((times @ sums) / (times @ rows), axis=1))
    low, high = np.quantile(np.concatenate(averages), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def effect_size(shares: np.ndarray) -> float | None:
    """The mean of the items' shares over their standard deviation: Cohen's d_z; None where all are the same.

    Cohen 1988, Statistical Power Analysis, section 2.3.5; Lakens 2013 (10.3389/fpsyg.2013.00863). By Cohen's
    convention 0.2 is small, 0.5 medium and 0.8 large.

    Args:
        shares: what each item of the test adds, float64 [items].
    """
    if np.ptp(shares) == 0:
        return None
    return float(shares.mean() / shares.std(ddof=1))


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p-values of a family, float64 [tests]; as many come out (Holm 1979, Scand. J. Statist. 6, 65-70)."""
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def _draws(total: int, items: int) -> Iterator[int]:
    """How many draws of all items to make at once, until there are `total`."""
    return (block.stop - block.start for block in blocks(total, max(1, NUMBERS // max(1, items))))
