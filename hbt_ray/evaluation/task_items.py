"""The test items of tasks, which `prepare --exclude` keeps out of training."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import RayTaskError

from hbt_ray.config import Excluded, UserError
from hbt_ray.data.exclude import TaskItems
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode.spans import Part
from hbt_ray.evaluation.tasks import load_task
from hbt_ray.evaluation.tasks.base import CorpusAt, Task
from hbt_ray.terminal import Progress

PART = 65536  # documents read at once


def task_items(excluded: Sequence[Excluded]) -> list[TaskItems]:
    """Read the queries of each task and the documents that are relevant to one.

    Of a corpus that stays where it is all documents are read, in Ray tasks, and the relevant ones kept.

    Raises:
        UserError: there is no such task, or its files are missing or malformed.
    """
    found = []
    for one in excluded:
        if one.name.startswith("mteb:"):
            raise UserError(f"--exclude {one.name}: mteb reads its tasks alone; name a folder of the data as beir:URI")
        task = load_task(one.name, one.uri, skip_queries=True, duplicates="last")
        wanted = sorted({key for keys in task.relevant.values() for key in keys})
        name, colon, folder = one.name.partition(":")
        name += colon + folder.rstrip("/").rpartition("/")[2]  # a place decides nothing of a store
        found.append(TaskItems(name, task.queries["text"].to_pylist(), _texts(task, wanted)))
    return found


def _texts(task: Task, wanted: Sequence[str]) -> list[str]:
    """The texts of the documents named; those that the corpus lacks have none."""
    documents, keys = task.documents, pa.array(wanted, pa.large_string())
    if not isinstance(documents, CorpusAt):
        texts: list[str] = documents.filter(pc.is_in(documents["id"].cast(pa.large_string()), keys))["text"].to_pylist()
        return texts
    groups = corpora.groups(corpora.scan_corpus(documents.uri, PART, *documents[1:]).parts)
    remote, known = ray.remote(_relevant), ray.put(frozenset(wanted))
    waiting = [remote.remote(group, known) for group in groups]
    texts = []
    with Progress(f"test items of {task.name}", "parts", len(waiting)) as progress:
        try:
            while waiting:
                done, waiting = ray.wait(waiting)
                texts += [text for some in ray.get(done) for text in some]
                progress.advance(len(done))
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, UserError) else error) from None
    return texts


def _relevant(group: Sequence[Part], wanted: frozenset[str]) -> list[str]:
    return [
        text
        for part in corpora.read_texts(group)
        for key, text in zip(part.ids, part.texts, strict=True)
        if key in wanted
    ]
