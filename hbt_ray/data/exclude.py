"""Test items that a training set must not hold: pairs whose query or passage is one of an evaluation task's.

A text is an item if both are the same when normalised (NFKC, lower case, letters, marks and digits alone), or nearly
so: if at least `SIMILAR` of all stretches of `STRETCH` characters that are in one of the two are in both. Nearly equal
texts are found by MinHash (Broder 1997, 10.1109/SEQUEN.1997.666900) and then compared as they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rensa import RMinHash, RMinHashLSH

from hbt_ray.data import records
from hbt_ray.data.records import Checked

SIMILAR = 0.8  # Jaccard similarity of two texts' stretches
STRETCH = 4  # characters
SHORTEST = 24  # text of which another may be a variant: in a shorter one a letter may change what is asked [characters]
BANDS, BAND, SEED = 16, 4, 1  # of hashes: of two texts as similar as that, one in 5,000 goes unseen


class TaskItems(NamedTuple):
    """What a task must find new: its queries, and the documents that are relevant to one.

    Attributes:
        task: name of the task.
        queries, passages: texts.
    """

    task: str
    queries: Sequence[str]
    passages: Sequence[str]


class Exclusion:
    """Finds the records that hold a test item; made once for a run."""

    def __init__(self, items: Sequence[TaskItems]) -> None:
        """Index the items of all tasks."""
        self._queries = _Texts((one.task, one.queries) for one in items)
        self._passages = _Texts((one.task, one.passages) for one in items)

    def split(self, found: Checked, file: str) -> tuple[Checked, Counter[str]]:
        """The records without those that are excluded, which join the bad ones, and how many are for each task."""
        queries = self._queries.tasks_of(found.good["query"])
        passages = self._passages.tasks_of(found.good["passage"])
        named = [sorted({*left, *right}) for left, right in zip(queries, passages, strict=True)]
        excluded = np.array([bool(tasks) for tasks in named], dtype=bool)
        if not excluded.any():
            return found, Counter()
        problems = [f"{records.TEST_ITEM}: {', '.join(tasks)}" for tasks in named if tasks]
        bad = records.quarantined(found.good.filter(pa.array(excluded)), problems, file)
        rest = found._replace(good=found.good.filter(pa.array(~excluded)), bad=pa.concat_tables([found.bad, bad]))
        return rest, Counter(task for tasks in named for task in tasks)


class _Texts:
    """Texts of tasks, found by the same text or nearly the same.

    Attributes:
        tasks: normalised text to the tasks that have it.
    """

    def __init__(self, of_tasks: Iterable[tuple[str, Sequence[str]]]) -> None:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for task, texts in of_tasks:
            for text in _normalised(pa.array(texts, pa.string())).to_pylist():
                found[text].add(task)
        found.pop("", None)
        self.tasks = {text: sorted(found[text]) for text in sorted(found)}
        self._known = pa.array(self.tasks, pa.string())
        self._of_number = list(self.tasks.values())
        long = [number for number, text in enumerate(self.tasks) if len(text) >= SHORTEST]
        self._stretches = [_stretches(self._known[number].as_py()) for number in long]
        self._long = long
        self._index = RMinHashLSH(threshold=SIMILAR, num_perm=BANDS * BAND, num_bands=BANDS)
        self._index.insert_many(_sketches(self._stretches))

    def tasks_of(self, texts: pa.ChunkedArray) -> list[list[str]]:
        """The tasks that have each text or one that is nearly the same."""
        coded = _normalised(texts.combine_chunks()).dictionary_encode()
        numbers = pc.index_in(coded.dictionary, self._known)
        found = [[] if number is None else self._of_number[number] for number in numbers.to_pylist()]
        if self._stretches:
            long = pc.greater_equal(pc.utf8_length(coded.dictionary), SHORTEST)
            new = np.flatnonzero(pc.and_(numbers.is_null(), long).to_numpy(zero_copy_only=False))
            stretches = [_stretches(text) for text in coded.dictionary.take(pa.array(new)).to_pylist()]
            candidates = self._index.query_all(_sketches(stretches))
            for place, own, some in zip(new, stretches, candidates, strict=True):
                similar = [self._long[number] for number in some if _similar(own, self._stretches[number])]
                found[place] = sorted({task for number in similar for task in self._of_number[number]})
        return [found[code] for code in coded.indices.to_pylist()]


def _normalised(texts: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(lower, r"[^\p{L}\p{M}\p{N}]+", " "))


def _stretches(text: str) -> set[str]:
    return {text[start : start + STRETCH] for start in range(len(text) - STRETCH + 1)}


def _sketches(stretches: Sequence[set[str]]) -> list[RMinHash]:
    sketches: list[RMinHash] = RMinHash.from_token_sets(stretches, BANDS * BAND, SEED)
    return sketches


def _similar(one: set[str], other: set[str]) -> bool:
    both = len(one & other)
    return both >= SIMILAR * (len(one) + len(other) - both)
