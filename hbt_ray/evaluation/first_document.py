"""Whether the first document of a list answers the question: answer@1 and f1@1, where a task has answers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa

from hbt_ray.evaluation import answer_text
from hbt_ray.evaluation.rankings import Lists, Rankings
from hbt_ray.evaluation.tasks.base import Task

COLUMNS = ("answer@1", "f1@1")


def with_answers(task: Task, ranked: Rankings) -> Rankings:
    """The rankings whose table has `COLUMNS` too, as they are if the task has no answers or no texts at hand.

    For each list, the answers are those that the item has in the language of the first document, so that a question in
    one language is answered by a passage in another. answer@1 says whether the document holds one of them, and f1@1 is
    the best F1 over them, as `answer_text.py` has it. Both are 0 if the item has none in that language or the list is
    empty. They are null for a query without answers, and in the cross-lingual setting, whose lists are not made.

    A task that is judged by its answers has no need of it: its success@1 says the same.
    """
    if not task.answers or not isinstance(task.documents, pa.Table):
        return ranked
    texts = dict(zip(task.documents["id"].to_pylist(), task.documents["text"].to_pylist(), strict=True))
    items = dict(zip(*(task.queries[name].to_pylist() for name in ("id", "item")), strict=True))
    first = {
        "monolingual": _first(ranked.monolingual, len(task.queries)),
        "multilingual": _first(ranked.multilingual, len(task.queries)),
    }
    rows = {key: row for row, key in enumerate(task.queries["id"].to_pylist())}

    @lru_cache(maxsize=4096)
    def passage(document: str) -> list[str]:
        return answer_text.tokens(texts[document], document.partition(":")[0])

    @lru_cache(maxsize=2**17)  # many queries of an item have the same first document
    def measured(item: str, document: str) -> tuple[float, float]:
        language = document.partition(":")[0]
        answers = [answer_text.tokens(text, language) for text in task.answers[item].get(language, ())]
        if any(answer_text.holds(passage(document), answer) for answer in answers):
            return 1.0, 1.0
        return 0.0, max((answer_text.best_f1(passage(document), answer) for answer in answers), default=0.0)

    values = np.full((len(ranked.table), 2), np.nan)
    columns = (ranked.table[name].to_pylist() for name in ("query", "setting"))
    for number, (query, setting) in enumerate(zip(*columns, strict=True)):
        if setting in first and items[query] in task.answers:
            document = first[setting][rows[query]]
            values[number] = measured(items[query], document) if document else 0.0
    table = ranked.table
    for name, column in zip(COLUMNS, values.T, strict=True):
        table = table.append_column(name, pa.array(np.ascontiguousarray(column), from_pandas=True))
    return ranked._replace(table=table)


def columns(ranked: Rankings) -> list[str]:
    """Those of `COLUMNS` that the rankings have: all or none."""
    return [name for name in COLUMNS if name in ranked.table.column_names]


def _first(lists: Lists, queries: int) -> list[str]:
    """The first document of each query's list, "" for an empty one."""
    found = [""] * queries
    for rows, hits in lists:
        if hits.ids.shape[1]:
            for row, document in zip(rows.tolist(), hits.ids[:, 0].tolist(), strict=True):
                found[row] = document
    return found
