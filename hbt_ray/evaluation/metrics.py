"""Retrieval measures: exact average precision from full ranks, and trec_eval's own measures of cut-off lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytrec_eval

from hbt_ray.config import UserError
from hbt_ray.index.search import Hits

ALWAYS = ("mrr@10", "ndcg@10", "recall@10", "recall@100", "success@1", "map@20")  # computed for every task
MEASURE = re.compile(r"(mrr|ndcg|recall|success|map)@([1-9][0-9]*)")
TREC = {"ndcg": "ndcg_cut", "recall": "recall", "success": "success", "map": "map_cut", "mrr": "recip_rank"}


def columns(headline: Sequence[str]) -> tuple[str, ...]:
    """The cut-off measures of a task whose headline is this: those of every task, and its own."""
    return tuple(dict.fromkeys([*ALWAYS, *(name for name in headline if name != "map")]))


def cutoff(measure: str) -> int:
    """How much of a list the measure sees [documents]: 10 of `ndcg@10`."""
    return _split(measure)[1]


def ranks_in_lists(lists: np.ndarray, groups: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the ranks of the relevant documents that were found, within their lists.

    Args:
        lists: numbers of all lists, ascending, int [lists].
        groups: number of the list of each document, int [documents].
        ranks: from 1, int [documents].

    Returns: offsets [lists + 1] of each list's ranks, of which it may have none; ranks [documents].
    """
    order = np.lexsort((ranks, groups))
    return np.append(np.searchsorted(groups[order], lists), len(groups)), ranks[order]


def average_precision(offsets: np.ndarray, ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Average precision of each list: 1/R times the sum over its relevant documents of i / rank_i, i from 1.

    It equals trec_eval's `map` on the full list: the precision at the i-th relevant document is i / rank_i. What was
    never found adds nothing, and a list with nothing relevant has 0, as in trec_eval.

    Args:
        offsets: list l's documents that were found are those from offsets[l] to offsets[l + 1], int [lists + 1].
        ranks: ascending within a list, int [documents].
        relevant: R of each list, found or not, int [lists].

    Returns: float64 [lists].
    """
    sizes = np.diff(offsets)
    i = np.arange(len(ranks)) - np.repeat(offsets[:-1], sizes) + 1
    sums = np.bincount(np.repeat(np.arange(len(sizes)), sizes), weights=i / ranks, minlength=len(sizes))
    averages: np.ndarray = sums / np.maximum(relevant, 1)
    return averages


def trec_measures(hits: Hits, judged: Sequence[Mapping[str, int]], measures: Sequence[str]) -> dict[str, np.ndarray]:
    """Measures of each list as trec_eval computes them, float64 [lists].

    A list shorter than a measure's cut-off is taken as it is: recall@100 of lists of 50 is their recall@50. Places
    that hold no document (id "") are left out; a list without a document has 0, as `trec_eval -c` gives it.

    Args:
        judged: document id to grade, of each list; 0 is not relevant.
        measures: by our names; `mrr@10` is trec_eval's recip_rank where that is at least 1/10, and so on.
    """
    parts = {name: _split(name) for name in measures}
    evaluator = pytrec_eval.RelevanceEvaluator(
        {str(row): dict(grades) for row, grades in enumerate(judged)},
        {TREC[kind] if kind == "mrr" else f"{TREC[kind]}.{k}" for kind, k in parts.values()},
    )
    lists = {
        str(row): {key: score for key, score in zip(ids, scores, strict=True) if key}
        for row, (ids, scores) in enumerate(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))
    }
    results = evaluator.evaluate(lists)
    found: dict[str, np.ndarray] = {}
    for name, (kind, k) in parts.items():
        theirs = TREC[kind] if kind == "mrr" else f"{TREC[kind]}_{k}"
        values = np.array([results[str(row)][theirs] if str(row) in results else 0.0 for row in range(len(judged))])
        if kind == "mrr":
            values[values < 1 / (k + 0.5)] = 0.0  # between those of ranks k and k + 1
        found[name] = values
    return found


def macro(values: Iterable[float | None]) -> float | None:
    """Mean over languages or pairs, each counted once whatever its number of queries; None when none has a value."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _split(measure: str) -> tuple[str, int]:
    found = MEASURE.fullmatch(measure)
    if found is None:
        raise UserError(f"no measure {measure}; there are {', '.join(f'{kind}@k' for kind in TREC)}")
    return found[1], int(found[2])
