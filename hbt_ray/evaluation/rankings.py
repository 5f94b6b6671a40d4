"""Every query ranked in the settings of a task, and what the measures say: one table row for each (query, pool)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray.arrays import blocks
from hbt_ray.config import Setting
from hbt_ray.evaluation.bias import by_script, per_query
from hbt_ray.evaluation.identical import Identical
from hbt_ray.evaluation.metrics import average_precision, columns, macro, ranks_in_lists, trec_measures
from hbt_ray.evaluation.ranker import Ranker
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.languages import plain
from hbt_ray.search.ranking import Above, Hits, merge

QUERIES = 2048  # searched at once

Lists = list[tuple[np.ndarray, Hits]]  # rows of queries and their lists
Summary = dict[Setting, dict[tuple[str, str], dict[str, float | None]]]  # language and pool; measure


class Rankings(NamedTuple):
    """What a ranker makes of a task.

    Attributes:
        table: query, lang, item, setting, pool (a language, or `all`), relevant (documents in the pool), ap (average
            precision), ranks (of the relevant documents that were found, ascending), the measures of language bias
            (`bias.per_query.COLUMNS`, null where they have no value, and in the other settings), and those of
            `metrics.columns`.
        monolingual, multilingual: the lists themselves, of the settings asked for.
    """

    table: pa.Table
    monolingual: Lists
    multilingual: Lists


def rank(
    task: Task,
    queries: np.ndarray,
    ranker: Ranker,
    depth: int,
    chosen: Sequence[Setting] = (),
    missing: Collection[str] = (),
    identical: Collection[str] = (),
) -> Rankings:
    """Rank all queries. A query counts in a pool when it has a judgement of a document of the pool.

    If none of these documents is relevant, or the ranker has no list for the query, its measures there are 0, as
    `trec_eval -c` has it.

    Args:
        queries: queries of the task, as the ranker wants them, [queries] or [queries, width].
        depth: length of the lists [documents], on which agreement and preferences of languages depend; `ap`, `ranks`
            and the other measures of bias come from whole rankings.
        chosen: settings to rank in; the task's own when empty.
        missing: judged documents that the ranker does not have, and so never finds.
        identical: queries whose ids are ids of documents that the ranker may have, which are no results of theirs.
    """
    wanted = chosen or task.settings
    gone = frozenset(missing)
    keys = task.queries["id"].to_pylist()
    same = Identical(keys, identical)
    asked = np.array(task.queries["lang"].to_pylist(), dtype=object)
    relevant = same.with_own([[key for key in task.relevant[query] if key not in gone] for query in keys])
    alone = set(wanted) == {"monolingual"}
    above = _within_languages(ranker, queries, relevant, asked) if alone else ranker.ranks(queries, relevant)
    above = same.left_out_of_ranks(above)
    judged = _Judged(task, keys)
    # a language all of whose judged documents are missing has lists without documents
    languages = np.array([*ranker.languages, *sorted(judged.languages - set(ranker.languages))], dtype=object)
    own_rank = 1 + np.take_along_axis(above.counts, above.languages[:, None], axis=1)[:, 0]
    measures = columns(task.headline)
    width = len(languages)
    single = _Pools(judged, judged.queries * width + judged.column(languages), above,
                    above.queries * width + above.languages, own_rank)  # fmt: skip
    query, column = np.divmod(single.keys, width)
    setting = np.where(asked[query] == languages[column], "monolingual", "cross-lingual")
    none = dict.fromkeys(per_query.COLUMNS, np.full(len(query), np.nan))
    tables = [single.table(task, measures, query, setting, languages[column], none)]
    tables[0] = tables[0].filter(pa.array(np.isin(setting, wanted)))
    lists = _lists(ranker, queries, asked, depth, wanted, same)
    if "multilingual" in wanted:
        places = 1 + above.counts.sum(axis=1)
        whole = _Pools(judged, judged.queries, above, above.queries, places)
        positive = judged.grades >= 1
        relevant_rows = judged.queries[positive], judged.grades[positive], judged.column(languages)[positive]
        values = per_query.measured(
            whole.keys,
            whole.offsets,
            whole.ranks,
            per_query.with_missing(relevant_rows, (above.queries, judged.of(above), above.languages), places),
            per_query.heads(((rows, hits.ids) for rows, hits in lists["multilingual"]), len(keys)),
            asked,
            np.array(task.queries["item"].to_pylist(), dtype=object),
            languages,
        )
        names = np.full((2, len(whole.keys)), [["multilingual"], ["all"]])
        tables.append(whole.table(task, measures, whole.keys, names[0], names[1], values))
    return Rankings(pa.concat_tables(tables), lists["monolingual"], lists["multilingual"])


def _lists(
    ranker: Ranker, queries: np.ndarray, asked: np.ndarray, depth: int, wanted: Sequence[Setting], same: Identical
) -> dict[str, Lists]:
    """The lists of the settings `monolingual` and `multilingual` as far as they are wanted."""
    lists: dict[str, Lists] = {"monolingual": [], "multilingual": []}
    k = depth + same.extra
    for block in blocks(len(queries), QUERIES) if "multilingual" in wanted else ():
        found = ranker.search_languages(queries[block], k)
        rows = np.arange(block.start, block.stop)
        lists["multilingual"].append((rows, same.left_out_of_lists(merge(found, k, len(rows)), rows, depth)))
        if "monolingual" in wanted:
            own = {language: rows[asked[block] == language] for language in found}
            lists["monolingual"] += [
                (
                    members,
                    same.left_out_of_lists(
                        Hits(*(column[members - block.start] for column in found[name])), members, depth
                    ),
                )
                for name, members in own.items()
            ]
    for language in ranker.languages if "monolingual" in wanted and "multilingual" not in wanted else ():
        members = np.flatnonzero(asked == language)
        for block in blocks(len(members), QUERIES):
            hits = ranker.search_languages(queries[members[block]], k, [language])[language]
            lists["monolingual"].append((members[block], same.left_out_of_lists(hits, members[block], depth)))
    return lists


def _within_languages(
    ranker: Ranker, queries: np.ndarray, relevant: Sequence[Sequence[str]], asked: np.ndarray
) -> Above:
    """Ranks in the pools of the queries' own languages only: the others' documents are not looked at."""
    parts = []
    for language in ranker.languages:
        rows = np.flatnonzero(asked == language)
        own = [[key for key in relevant[row] if key.startswith(f"{language}:")] for row in rows.tolist()]
        if any(own):
            found = ranker.ranks(queries[rows], own, [language])
            parts.append(found._replace(queries=rows[found.queries]))
    if not parts:
        return ranker.ranks(queries[:0], [])
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return Above(*(column[order] for column in joined))


def joined(parts: Sequence[Rankings]) -> Rankings:
    """Join rankings of the same queries in different settings."""
    tables, *lists = zip(*parts, strict=True)
    monolingual, multilingual = ([pair for of_part in kind for pair in of_part] for kind in lists)
    return Rankings(pa.concat_tables(tables), monolingual, multilingual)


def without_whole_ranks(ranked: Rankings) -> Rankings:
    """The rankings, of which nothing is known behind their lists, without the measures that look there.

    They would have values for those queries alone whose relevant documents are all in the list, which are the easy
    ones. Average precision stays: as trec_eval has it, what is not in the list adds nothing.
    """
    table = ranked.table
    for name in per_query.OF_WHOLE_RANKINGS:
        table = table.set_column(table.column_names.index(name), name, pa.nulls(len(table), pa.float64()))
    return ranked._replace(table=table)


def summarise(table: pa.Table, settings: Sequence[Setting]) -> Summary:
    """The means over the queries of each language in each pool."""
    first = table.column_names.index("rank_distance")
    names = ["ap", *table.column_names[first:]]
    means = table.group_by(["setting", "lang", "pool"], use_threads=False).aggregate([(c, "mean") for c in names])
    summary: Summary = {setting: {} for setting in settings}
    for row in means.sort_by([("lang", "ascending"), ("pool", "ascending")]).to_pylist():
        measures = {name: row[f"{name}_mean"] for name in names}
        summary[row["setting"]][row["lang"], row["pool"]] = {"map": measures.pop("ap"), **measures}
    return summary


def settings_of(summary: Summary, measures: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The `settings` of results.json: macro averages and what they are averages of; null where there is no query."""
    result: dict[str, dict[str, Any]] = {}
    for setting, groups in summary.items():
        averages = {name: macro(measure[name] for measure in groups.values()) for name in ("map", *measures)}
        languages = sorted({language for language, _ in groups})
        result[setting] = {
            "map": averages.pop("map"),
            "by_language": {name: macro(m["map"] for key, m in groups.items() if key[0] == name) for name in languages},
            "measures": averages,
        }
    if "cross-lingual" in summary:
        pairs = {pair: measures["map"] for pair, measures in summary["cross-lingual"].items()}
        result["cross-lingual"]["by_pair"] = {f"{query}-{plain(pool)}": value for (query, pool), value in pairs.items()}
        result["cross-lingual"]["by_script"] = by_script(pairs)
    if "multilingual" in summary:
        found = {
            name: {language: measure[name] for (language, _), measure in summary["multilingual"].items()}
            for name in per_query.COLUMNS
        }
        distances = found.pop("rank_distance")
        result["multilingual"]["rank_distance"] = macro(distances.values())
        result["multilingual"]["rank_distance_by_language"] = distances
        result["multilingual"]["bias"] = {name: macro(values.values()) for name, values in found.items()}
        result["multilingual"]["bias_by_language"] = found
    return result


class _Judged:
    """The judgements of a task, one row each.

    Attributes:
        queries: row of the query, int64 [judgements].
        grades: grade of the document, int64 [judgements].
        languages: languages of the documents.
    """

    def __init__(self, task: Task, keys: Sequence[str]) -> None:
        of_query = [task.judgements.get(key, {}) for key in keys]
        self.queries = np.repeat(np.arange(len(keys)), [len(grades) for grades in of_query])
        self.grades = np.array([grade for grades in of_query for grade in grades.values()], dtype=np.int64)
        self._of_query = of_query
        self._tags = [key.partition(":")[0] for grades in of_query for key in grades]
        self.languages = frozenset(self._tags)

    def of(self, above: Above) -> np.ndarray:
        """The grade of each document of `above`, int64 [documents]."""
        pairs = zip(above.queries.tolist(), above.documents, strict=True)
        return np.array([self._of_query[query][key] for query, key in pairs], dtype=np.int64)

    def column(self, languages: np.ndarray) -> np.ndarray:
        """The place among `languages`, str [languages], of each document's own, int64 [judgements]."""
        places = {language: place for place, language in enumerate(languages)}
        return np.array([places[tag] for tag in self._tags], dtype=np.int64)


class _Pools:
    """Ranked lists, each of one query in one pool, known by the ranks of its relevant documents.

    Attributes:
        keys: one number a list, ascending [lists].
        offsets, ranks: as `ranks_in_lists` gives them.
        relevant: number of relevant documents of each list, found or not, int64 [lists].
    """

    def __init__(self, judged: _Judged, lists: np.ndarray, above: Above, found: np.ndarray, ranks: np.ndarray) -> None:
        """Sort the judgements and ranks by list.

        Args:
            lists: the list of each judgement, int [judgements].
            found: the list of each document of `above`, and `ranks` its rank there, int [documents].
        """
        self.keys, number = np.unique(lists, return_inverse=True)
        self.offsets, self.ranks, self._grades = ranks_in_lists(self.keys, found, ranks, judged.of(above))
        positive = judged.grades >= 1
        self.relevant = np.bincount(number[positive], minlength=len(self.keys))
        order = np.argsort(number[positive], kind="stable")
        self._all_grades = np.split(judged.grades[positive][order], np.cumsum(self.relevant)[:-1])

    def table(
        self,
        task: Task,
        measures: Sequence[str],
        query: np.ndarray,
        setting: np.ndarray,
        pool: np.ndarray,
        bias: Mapping[str, np.ndarray],
    ) -> pa.Table:
        """The rows of the table of `Rankings`, one a list: its query, setting, pool and bias, [lists] each."""
        asked = task.queries.take(pa.array(query))
        return pa.table({
            "query": asked["id"],
            "lang": asked["lang"],
            "item": asked["item"],
            "setting": pa.array(setting.tolist(), pa.string()),
            "pool": pa.array(pool.tolist(), pa.string()),
            "relevant": pa.array(self.relevant, pa.int32()),
            "ap": average_precision(self.offsets, self.ranks, self.relevant),
            "ranks": pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), pa.array(self.ranks)),
            **{name: pa.array(values, from_pandas=True) for name, values in bias.items()},
            **trec_measures(self.offsets, self.ranks, self._grades, [g.tolist() for g in self._all_grades], measures),
        })  # fmt: skip
