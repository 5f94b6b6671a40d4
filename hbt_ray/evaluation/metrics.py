"""Retrieval measures: exact average precision from full ranks, and trec_eval's own measures of cut-off lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytrec_eval

from hbt_ray.index.search import Hits

# our name -> trec_eval's; mrr@10 is recip_rank where that is at least 1/10
TREC_MEASURES = {
    "mrr@10": "recip_rank",
    "ndcg@10": "ndcg_cut_10",
    "recall@10": "recall_10",
    "recall@100": "recall_100",
    "success@1": "success_1",
    "map@20": "map_cut_20",
}
REQUEST = {"recip_rank", "ndcg_cut.10", "recall.10,100", "success.1", "map_cut.20"}


def group_ranks(groups: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort the ranks of relevant documents within their groups (one ranked list each).

    Args:
        groups: number of the list of each relevant document, int [documents].
        ranks: from 1, int [documents].

    Returns: the distinct groups, ascending [lists]; offsets [lists + 1] of each one's ranks; ranks [documents].
    """
    order = np.lexsort((ranks, groups))
    distinct, first = np.unique(groups[order], return_index=True)
    return distinct, np.append(first, len(groups)), ranks[order]


def average_precision(offsets: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Average precision of each list: 1/R times the sum over its relevant documents of i / rank_i, i from 1.

    It equals trec_eval's `map` on the full list: the precision at the i-th relevant document is i / rank_i.

    Args:
        offsets: list l's relevant documents are those from offsets[l] to offsets[l + 1], at least one, int [lists + 1].
        ranks: ascending within a list, int [documents].

    Returns: float64 [lists].
    """
    sizes = np.diff(offsets)
    i = np.arange(len(ranks)) - np.repeat(offsets[:-1], sizes) + 1
    averages: np.ndarray = np.add.reduceat(i / ranks, offsets[:-1]) / sizes if len(sizes) else np.zeros(0)
    return averages


def trec_measures(hits: Hits, relevant: Sequence[Iterable[str]]) -> dict[str, np.ndarray]:
    """The measures of `TREC_MEASURES` of each list as trec_eval computes them, float64 [lists].

    A list shorter than a measure's cut-off is taken as it is: recall@100 of lists of 50 is their recall@50.

    Args:
        relevant: document ids of each list; at least one.
    """
    names = [str(row) for row in range(len(relevant))]
    judged = {name: dict.fromkeys(documents, 1) for name, documents in zip(names, relevant, strict=True)}
    lists = {
        name: dict(zip(ids, scores, strict=True))
        for name, ids, scores in zip(names, hits.ids.tolist(), hits.scores.tolist(), strict=True)
    }
    results = pytrec_eval.RelevanceEvaluator(judged, REQUEST).evaluate(lists)
    measures = {
        ours: np.array([results[name][theirs] for name in names], dtype=np.float64)
        for ours, theirs in TREC_MEASURES.items()
    }
    measures["mrr@10"][measures["mrr@10"] < 0.0999] = 0.0
    return measures


def macro(values: Iterable[float | None]) -> float | None:
    """Mean over languages or pairs, each counted once whatever its number of queries; None when none has a value."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
