"""A stage of `prepare`: numbered parts, each done by one Ray Data task."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.storage import parts
from hbt_ray.terminal import Progress

# number and JSON value of a part -> its commit
Work = Callable[[int, Any], dict[str, Any]]
log = logging.getLogger(__name__)


class Stage:
    """The parts of one stage: `values[n]` (JSON) is what part n is told to do.

    Attributes:
        folder: where the commits are, and the parts' own files [URI].
    """

    def __init__(self, out: str, name: str, values: Sequence[Any]) -> None:
        self.folder = storage.join(out, "work", name)
        self._name = name
        self._values = values
        self._parts = parts.Parts(self.folder, [part_name(number) for number in range(len(values))])

    def run(self, work: Work) -> None:
        """Do the parts that no earlier run committed.

        Raises:
            UserError: a part met a mistake of the user's; the others are kept, or do not start.
        """
        missing = self._parts.missing()
        if not missing:
            return
        rows = [{"part": number, "value": json.dumps(self._values[number])} for number in missing]

        def pipeline(dataset: ray.data.Dataset) -> ray.data.Dataset:
            return dataset.map(partial(_do, work=work, folder=self.folder))

        with Progress(self._name, "parts", len(self._values), done=len(self._values) - len(missing)) as progress:
            parts.run(rows, pipeline, lambda _: progress.advance(1))

    def commits(self) -> Iterator[dict[str, Any]]:
        """What the commits of all parts say, in order; only some are held at a time."""
        return self._parts.commits()


def stage_file(folder: str, number: int, suffix: str) -> str:
    """The file of a numbered part [URI]."""
    return storage.join(folder, f"{part_name(number)}{suffix}")


def part_name(number: int) -> str:
    """The name that the files of a part begin with."""
    return f"part-{number:05d}"


def _do(row: dict[str, Any], work: Work, folder: str) -> dict[str, Any]:
    number = row["part"]
    try:
        parts.do(folder, part_name(number), lambda: work(number, json.loads(row["value"])))
    except UserError as mistake:
        return {"part": number, "error": str(mistake)}
    pa.default_memory_pool().release_unused()  # what an idle worker holds, its neighbours miss
    return {"part": number, "error": ""}
