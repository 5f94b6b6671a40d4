"""What every job script does around its one function: read settings, join Ray, say how it ended.

A job ends with one JSON line on stdout and exits 0 on success, 2 on a user's mistake, 1 on anything else.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayTaskError

from hbt_ray.command import parse
from hbt_ray.config import Section, UserError
from hbt_ray.terminal import show_workers, start_logging

C = TypeVar("C", bound=Section)


def main(settings: type[C], function: Callable[[C], dict[str, Any]], arguments: Sequence[str] | None = None) -> None:
    """Run `function` on the settings the command line gives, on the Ray cluster at hand (or a new local one).

    A result whose `status` is `error`, and whose `error` says why, ends the job with 1, without a traceback.
    """
    start_logging()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        config = parse(settings, arguments)
        ray.init(logging_level=logging.WARNING)
        show_workers()
        line = {"status": "ok", **function(config)}
    except Exception as error:
        mistake = user_error(error)
        if mistake is None:
            raise
        _end({"status": "error", "error": mistake}, 2)
    _end(line, 0 if line["status"] == "ok" else 1)


def user_error(error: BaseException | None) -> str | None:
    """The line of the user's mistake behind `error`, also when it happened in a Ray task, actor or worker."""
    if isinstance(error, RayTaskError):  # also a UserError, then, whose text is the task's traceback
        return user_error(error.cause)
    if error is None or isinstance(error, UserError):
        return str(error) if error else None
    behind = [*getattr(error, "worker_failures", {}).values(), error.__cause__]
    return next((line for line in map(user_error, behind) if line), None)


def _end(line: dict[str, Any], code: int) -> None:
    if code:
        print(f"error: {line['error']}", file=sys.stderr, flush=True)
    if ray.is_initialized():
        ray.shutdown()  # first: what workers still have to say must not follow the last line
    print(json.dumps(line, ensure_ascii=False), flush=True)
    sys.exit(code)
