"""Tasks whose judgements are made after the search: a passage that was found is relevant when it holds an answer."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from hbt_ray.arrays import blocks
from hbt_ray.encode import texts
from hbt_ray.evaluation.ranker import Ranker
from hbt_ray.evaluation.rankings import QUERIES
from hbt_ray.evaluation.tasks.base import CorpusAt, Task
from hbt_ray.search.ranking import merge


def judge(task: Task, queries: np.ndarray, ranker: Ranker, depth: int) -> Task:
    """The task with judgements of the first `depth` documents of each query: those with one of its answers.

    What stands further down is not judged, so that `success@k` for k up to `depth` means what the papers call
    Recall@k, and no other measure means anything. A query without any has its first document judged not relevant, and
    so counts 0.

    Args:
        queries: queries of the task, as the ranker wants them, [queries] or [queries, width].
        depth: number of documents that are looked at.

    Raises:
        UserError: a document that was found is not in the task's corpus.
    """
    assert isinstance(task.documents, CorpusAt)
    lists: list[list[str]] = []
    for block in blocks(len(queries), QUERIES):
        found = ranker.search_languages(queries[block], depth)
        lists += merge(found, depth, block.stop - block.start).ids.tolist()
    uri, language, duplicates = task.documents
    wanted = {key for ids in lists for key in ids if key}
    words = {key: spaced(text) for key, text in texts.of_corpus(uri, language, wanted, duplicates).items()}
    judgements: dict[str, dict[str, int]] = {}
    columns = (task.queries[name].to_pylist() for name in ("id", "item"))
    for query, item, ids in zip(*columns, lists, strict=True):
        answers = [spaced(answer) for strings in task.answers.get(item, {}).values() for answer in strings]
        holding = [key for key in ids if key and any(answer in words[key] for answer in answers)]
        judgements[query] = dict.fromkeys(holding, 1) or dict.fromkeys(ids[:1], 0)
    return replace(task, judgements=judgements)


def spaced(text: str) -> str:
    """The tokens of a text, lower-cased, each between spaces, so that one text holds another as whole tokens or not.

    As DPR's evaluation compares answers (Karpukhin et al. 2020, arXiv 2004.04906, its SimpleTokenizer), which
    mContriever's and BGE-M3's took over: after Unicode NFD, a token is a run of letters, digits and marks, or any other
    character that is neither space nor control.
    """
    tokens: Sequence[str] = _token().findall(unicodedata.normalize("NFD", text))
    return f" {' '.join(token.lower() for token in tokens if token.isprintable())} "


@lru_cache(maxsize=1)
def _token() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(sys.maxunicode) if unicodedata.category(chr(code))[0] == "M")
    return re.compile(rf"(?:[^\W_]|[{marks}])+|\S")
