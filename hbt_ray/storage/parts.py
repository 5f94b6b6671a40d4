"""Parts that are made exactly once: fixed before work starts, each committed by a small JSON when its files are there.

A run that is started again does the parts without a commit. Ray Data does the work, so parts are spread over the
cluster, and one that is lost with its node is done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hbt_ray.config import UserError
from hbt_ray.storage.files import read_ranges, sizes, write_bytes
from hbt_ray.storage.uris import exists, join
from hbt_ray.terminal import quiet_ray_data

if TYPE_CHECKING:
    import ray.data

BLOCKS = 1000  # of rows given to Ray Data: its start slows down with their number
READ_TOGETHER = 64  # commits


class Parts:
    """The parts of a piece of work, by name.

    Attributes:
        folder: where the commits are, and the parts' own files [URI].
        names: names of the parts, in order.
    """

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = names

    def uri(self, name: str, suffix: str) -> str:
        """The part's own file with this ending, such as `.parquet`."""
        return join(self.folder, f"{name}{suffix}")

    def missing(self) -> list[int]:
        """The numbers of the parts that no run has committed, by one listing."""
        done = sizes(self.folder)
        return [number for number, name in enumerate(self.names) if f"{name}.json" not in done]

    def commits(self) -> Iterator[dict[str, Any]]:
        """What the commits of all parts say, in order; only some are held at a time."""
        for first in range(0, len(self.names), READ_TOGETHER):
            some = self.names[first : first + READ_TOGETHER]
            yield from map(json.loads, read_ranges([(self.uri(name, ".json"), 0, None) for name in some]))


def do(folder: str, name: str, work: Callable[[], Mapping[str, Any]]) -> None:
    """Do a part, unless it is committed already, as a task that is tried again may find; then commit what `work` says.

    `work` writes the part's files before it returns.
    """
    commit = join(folder, f"{name}.json")
    if not exists(commit):
        write_bytes(commit, json.dumps(work()).encode())


def run(
    rows: Sequence[Mapping[str, Any]],
    pipeline: Callable[[ray.data.Dataset], ray.data.Dataset],
    each: Callable[[dict[str, Any]], None],
    rows_apart: bool = False,
) -> None:
    """Have Ray Data send the rows through a pipeline, and give each result to `each` as it comes.

    Args:
        pipeline: adds the work to the data set; a result's `error` is a user's mistake or empty, since an exception in
            a task reaches the user as Ray Data's, with its traceback.
        rows_apart: each row between two operators is a block of its own.

    Raises:
        UserError: a result says so; parts that have not begun do not begin then.
    """
    import ray.data  # here, since the tasks that do parts do without

    quiet_ray_data()
    dataset = ray.data.from_items(list(rows), override_num_blocks=min(len(rows), BLOCKS))
    dataset.context.enable_progress_bars = False  # of this data set only; its results say how far it is
    if rows_apart:
        dataset.context.target_max_block_size = 1
    for result in pipeline(dataset).iter_rows():
        if result["error"]:
            raise UserError(result["error"])
        each(result)
