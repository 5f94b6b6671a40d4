"""The terminal of a job: what it is doing, how far it is, tables and number formats; and who else may speak there.

Jobs log to stderr. Ray, DeepSpeed and other libraries write to Ray's log files; here they are heard only with warnings.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import time
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

WIDTH = 160  # of tables where there is no terminal [characters]
SECONDS = 20  # between two lines of progress where there is no terminal
MARK = "hbt_ray│"  # before a line that a worker says to the user
PROGRESS = re.compile(r"(.+): ([\d,]+) of ([\d,]+) (\w+)(?:, (.*))?")  # see `progress_line`
log = logging.getLogger(__name__)


def console() -> Console:
    """The console on stderr, wide enough for tables where it is a file."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, reads: Sequence[int] = ()
) -> Table:
    """A table of text; the first column and those numbered in `reads` are read, the others are figures."""
    shown = Table(title=title)
    for number, column in enumerate(columns):
        shown.add_column(column, justify="left" if number == 0 or number in reads else "right")
    for row in rows:
        shown.add_row(*row)
    return shown


def warn(line: str) -> None:
    """Print one line that the user should see to stderr."""
    console().print(f"warning: {line}", style="yellow", markup=False, highlight=False)


def number(value: float | None, digits: int) -> str:
    """The figure as text, with `digits` digits behind the point and thousands set apart; a dash when there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


class Progress:
    """How far a piece of work is: a bar on a terminal, a line now and then elsewhere.

    Work that is done within `SECONDS` of its start says nothing where there is no terminal.
    """

    def __init__(self, name: str, unit: str, total: int, done: int = 0) -> None:
        """Begin to show the progress.

        Args:
            unit: what is counted, in the plural.
            total: how many there are.
            done: how many an earlier run did.
        """
        self._name, self._unit, self._total, self._done = name, unit, total, done
        self._said = time.monotonic()
        self._bars: Bars | None = None
        if sys.stderr.isatty():
            name_and_unit, about = (
                TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[about]")
            )
            columns = (name_and_unit, BarColumn(), MofNCompleteColumn(), about, TimeRemainingColumn())
            self._bars = Bars(*columns, console=console(), transient=True)
            self._task = self._bars.add_task(f"{name} [{unit}]", total=total, completed=done, about="")

    def advance(self, count: int, about: str = "") -> None:
        """Note that `count` more are done; `about` is shown beside the count."""
        self.update(self._done + count, about)

    def update(self, done: int, about: str = "") -> None:
        """Note that `done` are done in all; `about` is shown beside the count."""
        self._done = done
        if self._bars is not None:
            self._bars.update(self._task, completed=done, about=about)
        elif time.monotonic() - self._said > SECONDS:
            self._said = time.monotonic()
            log.info(progress_line(self._name, self._unit, done, self._total, about))

    def __enter__(self) -> Progress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()


def progress_line(name: str, unit: str, done: int, total: int, about: str = "") -> str:
    """One line of progress, as `show_workers` reads it when a worker has logged it."""
    return f"{name}: {done:,} of {total:,} {unit}{about and f', {about}'}"


def start_logging() -> None:
    """Have our own log lines, and others' warnings, on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("hbt_ray").setLevel(logging.INFO)
    quiet_libraries()


def start_worker_logging() -> None:
    """Have the same in a worker of Ray's, whose lines reach the driver's terminal by `show_workers`."""
    logging.basicConfig(level=logging.WARNING, format=f"{MARK}%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    logging.getLogger("hbt_ray").setLevel(logging.INFO)
    quiet_libraries()


def quiet_libraries() -> None:
    """Leave what libraries say of themselves to log files, warnings of a future torch included."""
    # gathers that torch 2.13 renames: the old names also exist in the older torch of many GPU images
    warnings.filterwarnings("ignore", message=".*(all_gather|reduce_scatter).*", category=FutureWarning)
    for name in ("sentence_transformers", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # their warnings are of their own doing: weights of a head that a checkpoint has besides (model/weights.py refuses
    # what matters), layers that are not sharded, an accelerator that was not there, a token that Ray has made
    for name in ("DeepSpeed", "transformers", "ray._private.authentication"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet_ray_data()


def quiet_ray_data() -> None:
    """Leave to log files what Ray Data says of each execution's start, plan and end, and of its progress bars."""
    logging.getLogger("ray.data._internal.execution.streaming_executor").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.logging").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def show_workers() -> None:
    """Show, of all that workers write, what our own code says, and what Ray says of the cluster.

    Ray tells of requests that no node can take, and of nodes that come and go. The rest is in its log files. This is to
    be called after `ray.init`.
    """
    # Ray has no public way to choose among the lines it forwards
    from ray._private.ray_logging import global_worker_stdstream_dispatcher as forwarded
    from ray._private.worker import print_to_stdstream

    running: dict[str, Progress] = {}

    def show(data: dict[str, Any]) -> None:
        if data.get("pid") in ("autoscaler", "raylet"):
            print_to_stdstream(data, ignore_prefix=False)
            return
        for line in data["lines"]:
            _, mark, said = line.partition(MARK)
            if not mark:
                continue
            told = PROGRESS.fullmatch(said.partition(" ")[2])
            if told is None:
                sys.stderr.write(f"{said}\n")
                continue
            name, done, total, unit, about = told.groups()
            if name not in running:
                running[name] = Progress(name, unit, _count(total)).__enter__()
            running[name].update(_count(done), about or "")
            if done == total:
                running.pop(name).__exit__(None, None, None)

    forwarded.remove_handler("ray_print_logs")
    forwarded.add_handler("ray_print_logs", show)


def _count(text: str) -> int:
    return int(text.replace(",", ""))
