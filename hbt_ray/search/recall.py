"""What an approximate index finds of the exact result, by language, and what it takes to find enough of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import ray

from hbt_ray.config import Recall
from hbt_ray.search import knobs, store, streaming
from hbt_ray.search.approximate import Approximate
from hbt_ray.search.found import Found, combine
from hbt_ray.search.ranking import Hits, hits

USUAL: Recall = "0.95"  # what a search asks for unless told otherwise, and what the shards' files are set to


def measure_recall(
    index: str, shards: Sequence[Mapping[str, Any]], source: str, queries: np.ndarray, k: int
) -> dict[str, Any]:
    """The recall of the k best by language and value of the index's knob, as `knobs.py` has it, and operating points.

    Args:
        index: folder of the shards, which need no manifest yet.
        shards: their entries in the manifest.
        source: embeddings the index is built from; they are searched exactly.
        queries: fp32 [queries, width].
        k: number of best documents.

    Returns: `knob`, `k`, `queries`, `recall` (language, value, recall) and `operating_points` (language and target to
        the least value whose recall reaches it, and that recall; where none does, the least of those that find most).

    Raises:
        UserError: the embeddings or a shard are missing or corrupt.
    """
    truth = streaming.StreamingSearcher(source).search_languages(queries, k)
    reference = ray.put(queries)
    task = ray.remote(_search)
    found = [task.options(memory=int(shard["bytes"])).remote(index, shard, reference, k) for shard in shards]
    of_language: dict[str, list[Any]] = {language: [] for language in truth}
    for shard, answer in zip(shards, found, strict=True):
        of_language[shard["language"]].append(answer)
    name, curves = None, {}
    for language, answers in of_language.items():
        names, lists = zip(*ray.get(answers), strict=True)
        name = names[0]
        values = list(lists[0])
        curves[language] = [
            {"value": value, "recall": overlap(truth[language], hits(combine([each[value] for each in lists], k)))}
            for value in values
        ]
    return {
        "knob": name,
        "k": k,
        "queries": len(queries),
        "recall": curves,
        "operating_points": {language: operating_points(curve) for language, curve in curves.items()},
    }


def overlap(exact: Hits, found: Hits) -> float:
    """The share of the exact lists' documents that are in the found ones, mean over the queries."""
    shared = [len(set(one) & set(other)) for one, other in zip(exact.ids.tolist(), found.ids.tolist(), strict=True)]
    return float(np.mean(shared)) / exact.ids.shape[1]


def _search(
    index: str, shard: Mapping[str, Any], queries: np.ndarray, k: int
) -> tuple[str | None, dict[int | None, Found]]:
    """What a shard's knob is called, and what it finds with each value; with None when it has no knob."""
    loaded = store.load_shard(index, shard, queries.shape[1])
    assert isinstance(loaded, Approximate)
    values: list[int] | list[None] = knobs.efforts(loaded.index) or [None]
    return knobs.knob(loaded.index), {value: loaded.best(queries, k, value) for value in values}


def operating_points(curve: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each target the first point of the curve that reaches it, or else the first of those that find most.

    Args:
        curve: `value` of the knob, ascending, and `recall` with it.
    """
    best = max(curve, key=lambda point: point["recall"])  # the first of several
    return {target: next((p for p in curve if p["recall"] >= float(target)), best) for target in get_args(Recall)}


def shortfall(points: Mapping[str, Mapping[str, Mapping[str, Any]]], target: Recall) -> str | None:
    """One line on the languages in which no measured setting reaches the target, None if there are none.

    Args:
        points: operating points by language.
    """
    short = {language: of[target]["recall"] for language, of in points.items() if of[target]["recall"] < float(target)}
    if not short:
        return None
    found = ", ".join(f"{language} {recall:.3f}" for language, recall in sorted(short.items()))
    return f"no measured setting of the index reaches --recall {target}; the best finds: {found}"
