"""Whether a question finds the same documents in every language it is asked in: the mean rank correlation, MRC."""

from __future__ import annotations

import numpy as np

from hbt_ray.arrays import blocks

ROWS = 128  # of an item's lists, compared at once with all of its lists


def rank_correlation(lists: np.ndarray, items: np.ndarray, languages: np.ndarray) -> np.ndarray:
    """MRC: how far a query's list agrees with those of its translations, -1 to 1, float64 [queries].

    The mean of Spearman's correlations of its list with each list of the same question in another language, all from
    one pool (arXiv 2509.06195); the measure of a model is the mean over queries. NaN for a query without a translation.

    Lists are cut off and few documents are in both, so a correlation needs a rule for the others, which the source was
    not available to take one from. Here: over the documents that are in either list, those that a list lacks are tied
    behind its last one, at the mean of their places, as Spearman's correlation treats ties. Two equal lists have 1, and
    two lists of k documents with none in common have -6 k^2 / (7 k^2 - 1), about -0.86. With an empty list the
    correlation is 0: queries without results count 0.

    Args:
        lists: number of each document, best first, -1 after the end of a list, int [queries, k].
        items: number of each query's item, int [queries]; translations of a question are one item.
        languages: number of each query's language, int [queries].
    """
    found = np.full(len(lists), np.nan)
    order = np.argsort(items, kind="stable")
    starts = np.flatnonzero(np.diff(items[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        for block in blocks(len(rows), ROWS):
            found[rows[block]] = _of_item(lists[rows], languages[rows], block)
    return found


def _of_item(lists: np.ndarray, languages: np.ndarray, block: slice) -> np.ndarray:
    """The mean correlation of each list of the block with those in other languages, float64 [rows of the block]."""
    others = languages[block, None] != languages
    if not others.any():
        return np.full(len(others), np.nan)
    documents, place = np.unique(lists, return_inverse=True)
    place = place.reshape(lists.shape)
    ranks = np.zeros((len(lists), len(documents)))
    np.put_along_axis(ranks, place, np.arange(1.0, 1 + lists.shape[1]), axis=1)
    ranks = ranks[:, documents >= 0]
    correlations = _spearman(ranks[block], ranks)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = (correlations * others).sum(axis=1) / others.sum(axis=1)
    return means


def _spearman(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Spearman's correlation of every list on the left with every one on the right, float64 [left, right].

    It is Pearson's of the ranks, from sums over the documents that two lists share.

    Args:
        left, right: rank of each document, 0 if it is not in the list, float64 [lists, documents].
    """
    in_left, in_right = (left > 0).astype(np.float64), (right > 0).astype(np.float64)
    length, width = in_left.sum(axis=1)[:, None], in_right.sum(axis=1)
    shared = in_left @ in_right.T
    union = length + width - shared
    centre = (union + 1) / 2
    # less the mean rank: those of the documents in both, in the left list alone, and of those tied behind each list
    both = left @ right.T - centre * (left @ in_right.T + in_left @ right.T) + centre**2 * shared
    left_alone = length * (length + 1) / 2 - left @ in_right.T - centre * (length - shared)
    right_alone = width * (width + 1) / 2 - in_left @ right.T - centre * (width - shared)
    # a list's t tied documents stand at its length + (t + 1) / 2
    behind_left = length + (union - length + 1) / 2 - centre
    behind_right = width + (union - width + 1) / 2 - centre
    covariance = both + left_alone * behind_right + right_alone * behind_left
    spread = [((union**3 - union) - (tied**3 - tied)) / 12 for tied in (union - length, union - width)]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = covariance / np.sqrt(spread[0] * spread[1])
    found[union == 1] = 1.0  # the same document alone
    found[(length == 0) | (width == 0)] = 0.0
    return found
