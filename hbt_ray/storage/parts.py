"""Parts that are made exactly once: fixed before work starts, each committed by a small JSON when its files are there.

A run that is started again does the parts without a commit. Ray Data does the work, so parts are spread over the
cluster, and one that is lost with its node is done again. A commit is created exclusively and says what counts: of two
writers of a part the first that commits is right, and if each writes files of its own names, no other can harm them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hbt_ray.config import UserError
from hbt_ray.storage.files import read_json, read_ranges, sizes, write_new
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


class Done(NamedTuple):
    """What became of a part.

    Attributes:
        commit: what counts of it.
        ours: whether that is what the caller's own work said.
    """

    commit: dict[str, Any]
    ours: bool


def do(folder: str, name: str, work: Callable[[], Mapping[str, Any]]) -> Done:
    """Do a part, unless it is committed already, as a task that is tried again may find; then commit what `work` says.

    `work` writes the part's files before it returns. Another writer may commit meanwhile: then that counts.
    """
    commit = join(folder, f"{name}.json")
    if not exists(commit):
        made = dict(work())
        with contextlib.suppress(FileExistsError):
            write_new(commit, json.dumps(made).encode())
            return Done(made, True)
    return Done(read_json(commit), False)


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
