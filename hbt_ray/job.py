"""What every job script does around its one function: read settings, join Ray, say how it ended.

A job ends with one JSON line on stdout and exits 0 on success, 2 on a user's mistake, 1 on anything else. `--help` and
a mistake in a flag are answered before Ray, or what the job runs, is imported: so a job script imports settings and
this module only, and its function imports the rest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from hbt_ray.command import parse
from hbt_ray.config import Section, UserError

C = TypeVar("C", bound=Section)


def main(
    settings: type[C],
    function: Callable[[C], dict[str, Any]],
    arguments: Sequence[str] | None = None,
    needs_ray: Callable[[C], bool] = lambda _: True,
) -> None:
    """Run `function` on the settings the command line gives, on the Ray cluster at hand (or a new local one) where it
    `needs_ray`.

    A result whose `status` is `error`, and whose `error` says why, ends the job with its `exit_code`, or else with 1,
    without a traceback.
    """
    try:
        config = parse(settings, sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        _end({"status": "error", "error": str(error)}, 2)
    import ray

    from hbt_ray import cluster
    from hbt_ray.terminal import show_workers, start_logging

    start_logging()
    try:
        if needs_ray(config):
            cluster.join()
            show_workers()
        line = {"status": "ok", **function(config)}
        code = 0 if line["status"] == "ok" else int(line.get("exit_code", 1))
    except Exception as error:
        mistake = user_error(error)
        if mistake is None:
            raise
        line, code = {"status": "error", "error": mistake}, 2
    ray.shutdown()  # first: what workers still have to say must not follow the last line
    _end(line, code)


def user_error(error: BaseException | None) -> str | None:
    """The line of the user's mistake behind `error`, also when it happened in a Ray task, actor or worker."""
    from ray.exceptions import RayTaskError

    if isinstance(error, RayTaskError):  # also a UserError, then, whose text is the task's traceback
        return user_error(error.cause)
    if error is None or isinstance(error, UserError):
        return str(error) if error else None
    behind = [*getattr(error, "worker_failures", {}).values(), error.__cause__]
    return next((line for line in map(user_error, behind) if line), None)


def _end(line: dict[str, Any], code: int) -> NoReturn:
    if code:
        print(f"error: {line['error']}", file=sys.stderr, flush=True)
    print(json.dumps(line, ensure_ascii=False), flush=True)
    sys.exit(code)
