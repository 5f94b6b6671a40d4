"""A stage of `prepare`: parts that are fixed before it starts, done by Ray Data tasks, each committed when it is done.

A part's commit is a small JSON written after its files; a stage that is started again does the parts without one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import DataContext

from hbt_ray import storage
from hbt_ray.config import UserError

BLOCKS = 1000  # of parts given to Ray Data: its start slows down with their number
READ_TOGETHER = 64  # commits
REPORT_SECONDS = 10  # between two lines of progress
# number and JSON value of a part -> its commit
Work = Callable[[int, Any], dict[str, Any]]
log = logging.getLogger(__name__)


class Stage:
    """The parts of one stage: `values[n]` (JSON) is what part n is told to do.

    Attributes:
        folder: where the commits are, and the parts' own files.
    """

    def __init__(self, out: str, name: str, values: Sequence[Any]) -> None:
        self.folder = storage.join(out, "work", name)
        self._name = name
        self._values = values
        self._error = error_uri(out)

    def run(self, work: Work) -> None:
        """Do the parts that no earlier run committed.

        Raises:
            UserError: a part met a mistake of the user's. Its line is left on storage and the other parts do not start,
                since an exception in a task reaches the user as Ray Data's, with its traceback.
        """
        done = storage.sizes(self.folder)
        missing = [number for number in range(len(self._values)) if _name(number, ".json") not in done]
        already = len(self._values) - len(missing)
        log.info("%s: %d parts, %d of them done already", self._name, len(self._values), already)
        if not missing:
            return
        rows = [{"part": number, "value": json.dumps(self._values[number])} for number in missing]
        task = partial(_do, work=work, folder=self.folder, error=self._error)
        said = time.monotonic()
        context = DataContext.get_current().copy()
        context.enable_progress_bars = False  # these lines of progress are enough
        with DataContext.current(context):
            dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS)).map(task)
        for count, _ in enumerate(dataset.iter_rows(), start=already + 1):
            if time.monotonic() - said > REPORT_SECONDS:
                log.info("%s: %d of %d parts", self._name, count, len(self._values))
                said = time.monotonic()
        if storage.exists(self._error):
            raise UserError(storage.read_json(self._error)["error"])
        log.info("%s: done", self._name)

    def commits(self) -> Iterator[dict[str, Any]]:
        """The commits of all parts, in order; only some are held at a time."""
        for first in range(0, len(self._values), READ_TOGETHER):
            numbers = range(first, min(first + READ_TOGETHER, len(self._values)))
            uris = [part_uri(self.folder, number, ".json") for number in numbers]
            yield from map(json.loads, storage.read_ranges([(uri, 0, None) for uri in uris]))


def part_uri(folder: str, number: int, suffix: str) -> str:
    return storage.join(folder, _name(number, suffix))


def error_uri(out: str) -> str:
    return storage.join(out, "quarantine", "error.json")


def _name(number: int, suffix: str) -> str:
    return f"part-{number:05d}{suffix}"


def _do(row: dict[str, Any], work: Work, folder: str, error: str) -> dict[str, Any]:
    number, commit = row["part"], part_uri(folder, row["part"], ".json")
    # a task that is tried again may find parts of its own
    if not storage.exists(error) and not storage.exists(commit):
        try:
            storage.write_bytes(commit, json.dumps(work(number, json.loads(row["value"]))).encode())
        except UserError as mistake:
            storage.write_json(error, {"error": str(mistake)})
        pa.default_memory_pool().release_unused()  # what an idle worker holds, its neighbours miss
    return {"part": number}
