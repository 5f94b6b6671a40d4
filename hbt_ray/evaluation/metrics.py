"""Retrieval measures: exact average precision from full ranks, and trec_eval's own measures of cut-off lists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pytrec_eval

from hbt_ray.config import UserError

ALWAYS = ("mrr@10", "ndcg@10", "recall@10", "recall@100", "success@1", "map@20")  # computed for every task
MEASURE = re.compile(r"(mrr|ndcg|recall|success|map)@([1-9][0-9]*)")
TREC = {"ndcg": "ndcg_cut", "recall": "recall", "success": "success", "map": "map_cut", "mrr": "recip_rank"}


def columns(headline: Sequence[str]) -> tuple[str, ...]:
    """The cut-off measures of a task whose headline is this: those of every task, and its own."""
    return tuple(dict.fromkeys([*ALWAYS, *(name for name in headline if name != "map")]))


def cutoff(measure: str) -> int:
    """How much of a list the measure sees [documents]: 10 of `ndcg@10`."""
    return _split(measure)[1]


def ranks_in_lists(
    lists: np.ndarray, groups: np.ndarray, ranks: np.ndarray, grades: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort the ranks of the relevant documents that were found, within their lists.

    Args:
        lists: numbers of all lists, ascending, int [lists].
        groups: number of the list of each document, int [documents].
        ranks: rank of each document in its list, from 1, int [documents].
        grades: grade of each document, int [documents].

    Returns: offsets, int64 [lists + 1], of each list's documents, of which it may have none; ranks and grades, of the
        dtypes given, [documents].
    """
    order = np.lexsort((ranks, groups))
    return np.append(np.searchsorted(groups[order], lists), len(groups)), ranks[order], grades[order]


def average_precision(offsets: np.ndarray, ranks: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """The average precision of each list: 1/R times the sum over its relevant documents of i / rank_i, i from 1.

    It equals trec_eval's `map` on the full list: the precision at the i-th relevant document is i / rank_i. What was
    never found adds nothing, and a list with nothing relevant has 0, as in trec_eval.

    Args:
        offsets: list l's documents that were found are those from offsets[l] to offsets[l + 1], int [lists + 1].
        ranks: rank of each document, ascending within a list, int [documents].
        relevant: R of each list, found or not, int [lists].

    Returns: float64 [lists].
    """
    sizes = np.diff(offsets)
    i = np.arange(len(ranks)) - np.repeat(offsets[:-1], sizes) + 1
    sums = np.bincount(np.repeat(np.arange(len(sizes)), sizes), weights=i / ranks, minlength=len(sizes))
    averages: np.ndarray = sums / np.maximum(relevant, 1)
    return averages


def trec_measures(
    offsets: np.ndarray,
    ranks: np.ndarray,
    grades: np.ndarray,
    relevant: Sequence[Sequence[int]],
    measures: Sequence[str],
) -> dict[str, np.ndarray]:
    """The measures of each list as trec_eval computes them, float64 [lists]; 0 for a list without relevant documents.

    They depend on nothing but the grades, and the ranks down to the largest cut-off. So trec_eval measures each
    different case once, on a list made for it: most lists of one language have one relevant document, at one of few
    ranks.

    Args:
        offsets, ranks, grades: the relevant documents that were found, as `ranks_in_lists` gives them: int [lists + 1]
            and twice int [documents].
        relevant: grades of all relevant documents of each list, found or not.
        measures: measures by our names; `mrr@10` is trec_eval's recip_rank where that is at least 1/10, and so on.
    """
    deepest = max(cutoff(name) for name in measures)
    cases: dict[tuple[tuple[tuple[int, int], ...], tuple[int, ...]], int] = {}
    case_of = np.empty(len(relevant), dtype=np.int64)
    found = list(zip(ranks.tolist(), grades.tolist(), strict=True))
    for number, (start, stop, all_grades) in enumerate(zip(offsets[:-1], offsets[1:], relevant, strict=True)):
        seen = tuple(pair for pair in found[start:stop] if pair[0] <= deepest)
        case_of[number] = cases.setdefault((seen, tuple(sorted(all_grades))), len(cases))
    parts = {name: _split(name) for name in measures}
    theirs = {name: TREC[kind] if kind == "mrr" else f"{TREC[kind]}_{k}" for name, (kind, k) in parts.items()}
    asked = {TREC[kind] if kind == "mrr" else f"{TREC[kind]}.{k}" for kind, k in parts.values()}
    made = {str(number): _made(*case) for case, number in cases.items()}
    results = pytrec_eval.RelevanceEvaluator({key: judged for key, (judged, _) in made.items()}, asked).evaluate(
        {key: listed for key, (_, listed) in made.items()}
    )
    values = {
        name: np.array([results.get(key, {}).get(theirs[name], 0.0) for key in made], dtype=np.float64)
        for name in parts
    }
    for name, (kind, k) in parts.items():
        if kind == "mrr":
            values[name][values[name] < 1 / (k + 0.5)] = 0.0  # between those of ranks k and k + 1
    return {name: of_case[case_of] for name, of_case in values.items()}


def _made(seen: Sequence[tuple[int, int]], grades: Sequence[int]) -> tuple[dict[str, int], dict[str, float]]:
    """Judgements, and a list in which what was seen stands at its ranks and no other relevant document stands."""
    unseen = Counter(grades) - Counter(grade for _, grade in seen)
    judged = {str(rank): grade for rank, grade in seen} | {f"-{i}": g for i, g in enumerate(unseen.elements())}
    return judged, {str(rank): -float(rank) for rank in range(1, seen[-1][0] + 1 if seen else 1)}


def macro(values: Iterable[float | None]) -> float | None:
    """The mean over languages or pairs, each counted once whatever its number of queries; None if none has a value."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _split(measure: str) -> tuple[str, int]:
    found = MEASURE.fullmatch(measure)
    if found is None:
        raise UserError(f"no measure {measure}; there are {', '.join(f'{kind}@k' for kind in TREC)}")
    return found[1], int(found[2])
