"""Every query ranked in the three settings, and what the measures say: one table row for each (query, pool)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray.evaluation.bias import rank_distance
from hbt_ray.evaluation.metrics import TREC_MEASURES, average_precision, group_ranks, macro, trec_measures
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.index.exact import blocks
from hbt_ray.index.search import Above, Hits, Searcher, merge

QUERIES = 2048  # searched at once

Lists = list[tuple[np.ndarray, Hits]]  # rows of queries and their lists
Summary = dict[str, dict[tuple[str, str], dict[str, float | None]]]  # setting; language and pool; measure


class Rankings(NamedTuple):
    """Attributes:
    table: query, lang, item, setting, pool (a language, or `all`), ap (average precision), ranks (of the relevant
        documents, ascending), rank_distance (multilingual only), and the measures of `TREC_MEASURES`.
    monolingual, multilingual: the lists themselves.
    """

    table: pa.Table
    monolingual: Lists
    multilingual: Lists


def rank(task: Task, vectors: np.ndarray, searcher: Searcher, depth: int) -> Rankings:
    """Rank all queries. A query counts in a pool when the pool has a document relevant to it.

    Args:
        vectors: of the task's queries, fp32 [queries, width].
        depth: length of the lists [documents]; `ap`, `ranks` and `rank_distance` come from whole rankings.
    """
    above = searcher.ranks(vectors, [task.relevant[key] for key in task.queries["id"].to_pylist()])
    languages = np.array(searcher.languages, dtype=object)
    asked = np.array(task.queries["lang"].to_pylist(), dtype=object)
    own_rank = 1 + np.take_along_axis(above.counts, above.languages[:, None], axis=1)[:, 0]
    single = _Pools(above, above.queries * len(languages) + above.languages, own_rank)
    whole = _Pools(above, above.queries, 1 + above.counts.sum(axis=1))
    query, column = np.divmod(single.keys, len(languages))
    monolingual: Lists = []
    multilingual: Lists = []
    for block in blocks(len(vectors), QUERIES):
        found = searcher.search_languages(vectors[block], depth)
        rows = np.arange(block.start, block.stop)
        multilingual.append((rows, merge(found, depth, len(rows))))
        in_block = np.flatnonzero((whole.keys >= block.start) & (whole.keys < block.stop))
        whole.measure(in_block, _pick(multilingual[-1][1], whole.keys[in_block] - block.start))
        inside = (query >= block.start) & (query < block.stop)
        for number, language in enumerate(languages):
            pools = np.flatnonzero(inside & (column == number))
            single.measure(pools, _pick(found[language], query[pools] - block.start))
            same = rows[asked[block] == language]
            monolingual.append((same, _pick(found[language], same - block.start)))
    setting = np.where(asked[query] == languages[column], "monolingual", "cross-lingual")
    table = pa.concat_tables([
        single.table(task, query, setting, languages[column], np.full(len(query), np.nan)),
        whole.table(task, whole.keys, np.full(len(whole.keys), "multilingual"), np.full(len(whole.keys), "all"),
                    rank_distance(whole.offsets, whole.ranks)),
    ])  # fmt: skip
    return Rankings(table, monolingual, multilingual)


def summarise(table: pa.Table) -> Summary:
    """Means over the queries of each language in each pool."""
    columns = ["ap", "rank_distance", *TREC_MEASURES]
    means = table.group_by(["setting", "lang", "pool"], use_threads=False).aggregate([(c, "mean") for c in columns])
    summary: Summary = {"monolingual": {}, "cross-lingual": {}, "multilingual": {}}
    for row in means.sort_by([("lang", "ascending"), ("pool", "ascending")]).to_pylist():
        measures = {name: row[f"{name}_mean"] for name in columns}
        summary[row["setting"]][row["lang"], row["pool"]] = {"map": measures.pop("ap"), **measures}
    return summary


def settings(summary: Summary) -> dict[str, dict[str, Any]]:
    """The `settings` of results.json: macro averages and what they are averages of; null where there is no query."""
    result: dict[str, dict[str, Any]] = {}
    for setting, groups in summary.items():
        averages = {name: macro(measure[name] for measure in groups.values()) for name in ("map", *TREC_MEASURES)}
        languages = sorted({language for language, _ in groups})
        result[setting] = {
            "map": averages.pop("map"),
            "by_language": {name: macro(m["map"] for key, m in groups.items() if key[0] == name) for name in languages},
            "measures": averages,
        }
    pairs = summary["cross-lingual"].items()
    result["cross-lingual"]["by_pair"] = {f"{query}-{corpus}": measures["map"] for (query, corpus), measures in pairs}
    distances = {language: m["rank_distance"] for (language, _), m in summary["multilingual"].items()}
    result["multilingual"]["rank_distance"] = macro(distances.values())
    result["multilingual"]["rank_distance_by_language"] = distances
    return result


class _Pools:
    """Ranked lists, each of one query in one pool: the ranks of its relevant documents, and measures as they come.

    Attributes:
        keys: one number a list, ascending [lists].
        offsets, ranks: as `group_ranks` gives them.
    """

    def __init__(self, above: Above, keys: np.ndarray, ranks: np.ndarray) -> None:
        self.keys, self.offsets, self.ranks = group_ranks(keys, ranks)
        documents = above.documents[np.argsort(keys, kind="stable")]
        self.relevant = np.split(documents, self.offsets[1:-1])
        self.measures = {name: np.empty(len(self.keys)) for name in TREC_MEASURES}

    def measure(self, lists: np.ndarray, hits: Hits) -> None:
        """Measure the lists at the places `lists`, whose top is `hits`."""
        for name, values in trec_measures(hits, [self.relevant[i] for i in lists]).items():
            self.measures[name][lists] = values

    def table(
        self, task: Task, query: np.ndarray, setting: np.ndarray, pool: np.ndarray, distance: np.ndarray
    ) -> pa.Table:
        asked = task.queries.take(pa.array(query))
        return pa.table({
            "query": asked["id"],
            "lang": asked["lang"],
            "item": asked["item"],
            "setting": pa.array(setting.tolist(), pa.string()),
            "pool": pa.array(pool.tolist(), pa.string()),
            "ap": average_precision(self.offsets, self.ranks),
            "ranks": pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), pa.array(self.ranks)),
            "rank_distance": pa.array(distance, from_pandas=True),
            **self.measures,
        })  # fmt: skip


def _pick(hits: Hits, rows: np.ndarray) -> Hits:
    return Hits(hits.ids[rows], hits.scores[rows])
