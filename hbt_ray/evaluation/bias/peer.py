"""PEER, the probability of equal expected rank: are documents that are equally relevant ranked alike in all languages?

Yang et al. 2024, Language Fairness in Multilingual Information Retrieval, arXiv 2405.00978; reference code
github.com/hltcoe/peer_measure at cb6fb77. For each grade of a query's relevant documents, a Kruskal-Wallis test of the
hypothesis that all languages have the same expected rank: with the ranks r of N documents, n_g of them in language g,

    H = (N - 1) sum_g n_g (mean_g(r) - mean(r))^2 / sum (r - mean(r))^2,

of which p is the upper tail of chi-square with G - 1 degrees of freedom. The ranks are those in the list, as the
reference has them, and are not ranked again within the test. PEER@k is the sum over grades of weight times p, from 0,
where some language is surely ranked apart, to 1, where nothing speaks against equal ranks. Documents in one language
have p = 1, and so have those none of which is in the first k: read it beside recall.

It needs several documents in a language. With one in each, as in XQuAD-R, G = N and the fraction is 1, so that
H = N - 1 whatever the ranking (unless nothing is in the first k), and PEER says nothing.

The two variants differ in the documents that are not in the first k. The reference ranks them all alike at
M + (u + 1) / 2 when there are u. Its comment and a branch that is never taken (a comparison with `is None`) tell that M
was meant to be the last rank of a retrieved document; what runs has M = N, the number of documents. So with N below k
they may stand above documents that were retrieved, and where the only retrieved document is at just that rank, the
reference has 0 / 0, which is NaN. The paper's own rule for them was not at hand to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc


class Relevant(NamedTuple):
    """Relevant documents, one row each, found or not.

    Attributes:
        queries: number of the document's query, int64 [documents].
        grades: grade of the document, int64 [documents].
        languages: number of the document's language, int64 [documents].
        ranks: rank in the query's list, from 1, infinite for one that was never found, float64 [documents].
    """

    queries: np.ndarray
    grades: np.ndarray
    languages: np.ndarray
    ranks: np.ndarray


def peer(relevant: Relevant, queries: int, cutoff: int, weights: Mapping[int, float]) -> np.ndarray:
    """PEER@`cutoff` with what is not in the first `cutoff` tied behind it, float64 [queries].

    The u documents of a grade that are not in the first k stand at k + (u + 1) / 2, the mean of the places from k + 1
    on, and so never above one that was retrieved. Weights are made to add up to 1 over the grades that the query has.
    NaN for a query without documents of a grade with a weight.

    Args:
        relevant: the relevant documents of all queries.
        queries: number of queries.
        weights: grade to its weight, 0 for a grade that is missing.
    """
    query, grade, p = _tests(relevant, cutoff, published=False)
    weight = _weights(grade, weights)
    sums, total = (np.bincount(query, values, queries) for values in (weight * p, weight))
    with np.errstate(invalid="ignore"):
        values: np.ndarray = sums / total
    return values


def peer_published(relevant: Relevant, queries: int, cutoff: int, weights: Mapping[int, float]) -> np.ndarray:
    """PEER@`cutoff` as the reference code computes it, float64 [queries].

    What is not in the first k is ranked from the number of documents, as said above. A grade that a query has no
    document of adds nothing, so that the value may stay below 1 however fair the list, and is 0 without relevant
    documents. NaN where the reference has 0 / 0. A weight of documents that are not relevant, which the reference
    takes as well, is not offered. Tested to be equal to it on random lists.

    Args:
        relevant, queries, weights: as `peer` has them; the reference wants weights that add up to 1.
    """
    query, grade, p = _tests(relevant, cutoff, published=True)
    return np.bincount(query, _weights(grade, weights) * p, queries).astype(np.float64)  # whole numbers of no test


def _tests(relevant: Relevant, cutoff: int, published: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The query, grade and p-value of each test, int64, int64 and float64 [tests]; one test a query and grade."""
    if not len(relevant.queries):
        return relevant.queries, relevant.grades, np.empty(0)
    grades, grade = np.unique(relevant.grades, return_inverse=True)
    keys, test = np.unique(relevant.queries * len(grades) + grade, return_inverse=True)
    size = np.bincount(test)
    seen = relevant.ranks <= cutoff
    unseen = size - np.bincount(test, seen)
    behind = (size if published else cutoff) + (unseen + 1) / 2
    ranks = np.where(seen, relevant.ranks, behind[test])
    width = 1 + int(relevant.languages.max())
    samples, sample = np.unique(test * width + relevant.languages, return_inverse=True)
    of_sample = samples // width
    sizes = np.bincount(sample)
    mean = np.bincount(test, ranks) / size
    between = np.bincount(of_sample, sizes * (np.bincount(sample, ranks) / sizes - mean[of_sample]) ** 2)
    within_all = np.bincount(test, (ranks - mean[test]) ** 2)
    groups = np.bincount(of_sample)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = chdtrc(groups - 1, (size - 1) * between / within_all)
    p[(groups == 1) | (unseen == size)] = 1.0
    return keys // len(grades), grades[keys % len(grades)], p


def _weights(grades: np.ndarray, weights: Mapping[int, float]) -> np.ndarray:
    return np.array([weights.get(grade, 0.0) for grade in grades.tolist()], dtype=np.float64)
