"""How far down, and how far apart, the relevant documents of a query stand: rank distance, Max@R and Complete@k.

Each function takes, of all queries,

- offsets: query q's documents that were found are those from offsets[q] to offsets[q + 1], int [queries + 1];
- ranks: rank of each of these documents, ascending within a query, int [documents];
- relevant: number of relevant documents of each query, found or not, int [queries].
"""

from __future__ import annotations

import numpy as np


def rank_distance(offsets: np.ndarray, ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """The largest minus the smallest rank of a query's relevant documents in the pool of all, float64 [queries].

    NaN for a query with one relevant document, between which and another there is no distance, and for one of whose
    relevant documents some were never found. The language bias is the mean over a language's queries, then over query
    languages (Huang et al. 2023, arXiv 2305.09025).
    """
    whole = _whole(offsets, relevant) & (relevant > 1)
    distance = np.full(len(relevant), np.nan)
    distance[whole] = ranks[offsets[1:][whole] - 1] - ranks[offsets[:-1][whole]]
    return distance


def max_rank(offsets: np.ndarray, ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Max@R: how much of its list a query needs until it has all of its relevant documents [ranks], float64 [queries].

    It is the rank of the last of them (arXiv 2604.05684). NaN for a query without any, and for one of whose relevant
    documents some were never found. The paper's queries have parallel documents only; here every relevant document
    counts.
    """
    whole = _whole(offsets, relevant)
    worst = np.full(len(relevant), np.nan)
    worst[whole] = ranks[offsets[1:][whole] - 1]
    return worst


def complete(offsets: np.ndarray, ranks: np.ndarray, relevant: np.ndarray, cutoff: int) -> np.ndarray:
    """Complete@k: 1 for a query all of whose relevant documents are in the first `cutoff`, else 0, float64 [queries].

    NaN for a query without relevant documents. One that has more of them than `cutoff` has 0, whatever the ranking:
    XQuAD-R's queries have 11, and so Complete@10 is 0 there (arXiv 2604.05684).
    """
    value = np.where(relevant > 0, 0.0, np.nan)
    whole = _whole(offsets, relevant)
    value[whole] = ranks[offsets[1:][whole] - 1] <= cutoff
    return value


def _whole(offsets: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Whether a query has relevant documents and all of them were found, bool [queries]."""
    found: np.ndarray = (np.diff(offsets) == relevant) & (relevant > 0)
    return found
