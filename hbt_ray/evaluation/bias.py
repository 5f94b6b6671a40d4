"""Language bias of a multilingual ranking: how far apart it puts documents that say the same in different languages."""

from __future__ import annotations

import numpy as np


def rank_distance(offsets: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Largest minus smallest rank of a query's relevant documents in the pool of all languages, float64 [queries].

    NaN for a query with one relevant document, between which and another there is no distance. The language bias is
    the mean over a language's queries, then over query languages (Huang et al. 2023, arXiv 2305.09025).

    Args:
        offsets: query q's documents are those from offsets[q] to offsets[q + 1], at least one, int [queries + 1].
        ranks: ascending within a query, int [documents].
    """
    distance = ranks[offsets[1:] - 1] - ranks[offsets[:-1]]
    return np.where(np.diff(offsets) > 1, distance, np.nan)
