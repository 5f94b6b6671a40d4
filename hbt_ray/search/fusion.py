"""Several ranked lists made one: reciprocal rank fusion, and weighted sums of scores that are scaled within each list.

Both give each document of each list a number, and its score is the sum of its numbers, in fp64 and rounded to fp32. A
list that lacks a document gives it 0. Sums do not depend on the order of the lists, and equal ones rank by descending
id, as all ties do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray.search.ranking import Hits


def reciprocal_ranks(lists: Sequence[Hits], k: int) -> Hits:
    """Reciprocal rank fusion: a document at rank r of a list gets 1 / (k + r) from it.

    Cormack, Clarke and Büttcher 2009, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
    Methods, 10.1145/1571941.1572114, where k is 60.

    Returns: lists of all documents that are in any.
    """
    return _summed(lists, [np.broadcast_to(1 / (k + np.arange(1.0, 1 + h.ids.shape[1])), h.ids.shape) for h in lists])


def weighted_scores(lists: Sequence[Hits], weights: Sequence[float]) -> Hits:
    """The weighted sum of scores: a document gets w (s - min) / (max - min) from a list in which it has the score s.

    Minimum and maximum are those of the query's own list, as it was cut off, so that its last document gets no more
    than one that it lacks. A list of equal scores, which prefers nothing, gives 0. The scaling is Lee's (1997, Analyses
    of Multiple Evidence Combination, 10.1145/258525.258587), and all of this as ranx has it (`norm="min-max"`,
    `method="wsum"`; Bassani and Romelli 2022, 10.1145/3511808.3557207).

    Returns: lists of all documents that are in any.
    """
    return _summed(lists, [weight * _scaled(hits) for hits, weight in zip(lists, weights, strict=True)])


def _scaled(hits: Hits) -> np.ndarray:
    """Scores between 0 and 1 of each list, float64 [queries, k]."""
    there = hits.ids != ""
    scores = hits.scores.astype(np.float64)
    low = np.min(scores, axis=1, where=there, initial=np.inf, keepdims=True)
    high = np.max(scores, axis=1, where=there, initial=-np.inf, keepdims=True)
    apart = there & (high > low)
    return np.divide(scores - low, high - low, out=np.zeros_like(scores), where=apart)


def _summed(lists: Sequence[Hits], given: Sequence[np.ndarray]) -> Hits:
    """The documents of several lists of the same queries, each with the sum of what the lists give it.

    Args:
        given: what each list gives to its documents, float64 [queries, k].
    """
    queries = len(lists[0].ids)
    coded = pa.array(np.concatenate([hits.ids.ravel() for hits in lists]), pa.string()).dictionary_encode()
    # of equal scores the higher id is first, so documents are numbered in descending order of ids
    order = pc.array_sort_indices(coded.dictionary, order="descending").to_numpy()
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    document = number[coded.indices.to_numpy()]
    row = np.concatenate([np.repeat(np.arange(queries), hits.ids.shape[1]) for hits in lists])
    source = np.repeat(np.arange(len(lists)), [hits.ids.size for hits in lists])
    there = np.concatenate([hits.ids.ravel() for hits in lists]) != ""
    pairs, place = np.unique((row * len(order) + document)[there], return_inverse=True)
    parts = np.zeros((len(pairs), len(lists)))
    parts[place, source[there]] = np.concatenate([values.ravel() for values in given])[there]
    scores = np.sort(parts, axis=1).sum(axis=1).astype(np.float32)  # in one order, whatever that of the lists
    row, document = np.divmod(pairs, max(len(order), 1))
    best = np.lexsort((document, -scores, row))
    lengths = np.bincount(row, minlength=queries)
    filled = np.arange(lengths.max(initial=0)) < lengths[:, None]
    found = Hits(np.full(filled.shape, "", dtype=object), np.full(filled.shape, -np.inf, dtype=np.float32))
    found.ids[filled] = coded.dictionary.to_numpy(zero_copy_only=False)[order][document[best]]
    found.scores[filled] = scores[best]
    return found
