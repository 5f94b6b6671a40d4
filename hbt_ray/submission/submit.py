"""Submitting a job once, whoever asks how often, and following it over the loss of the cluster's head."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from ray.job_submission import JobDetails, JobStatus

from hbt_ray import storage
from hbt_ray.command import build
from hbt_ray.config import RoadConfig, SubmitConfig, UserError
from hbt_ray.config.uris import for_a_submitted_job
from hbt_ray.parsing import read_yaml
from hbt_ray.submission.client import Lost, Server, code_of
from hbt_ray.submission.code import ROAD, Code, copied
from hbt_ray.submission.commands import check_command
from hbt_ray.submission.road import stages_of

T = TypeVar("T")
DETACHED = 130  # the exit code after Ctrl-C, by which the job is left alone
SAME = "hbt_ray_command"  # in a job's metadata: the fingerprint of its command and road
FIRST_SECONDS = 10  # for which a head may be busy, or not up yet, when it is asked for the first time
WAITS = (1.0, 30.0)  # the first and the longest wait for a server that was lost [s]
log = logging.getLogger(__name__)


class Work(NamedTuple):
    """What is submitted.

    Attributes:
        command: entry point of the job.
        same: fingerprint of the command and the road.
        code: what is sent with it.
    """

    command: list[str]
    same: str
    code: Code


def submit(config: SubmitConfig, command: list[str]) -> dict[str, Any]:
    """Submit a command, or a road, and follow it; what it says goes to stdout.

    An id names one piece of work. While a job with it runs, or after one has succeeded, none is started; after one that
    failed or was stopped, the next is called `<id>-2`. When the cluster's head is lost, the next one, which knows of no
    job, gets it again under its old id: every job goes on from what is complete.

    Returns: `id`, `state` (Ray's word for it), and of a job that did not succeed `error` and `exit_code`.

    Raises:
        UserError: the command, the road or the address is wrong, or the id is that of other work.
    """
    name, road = _checked(config, command)
    command = ["python", "jobs/road.py", "--config", ROAD] if road is not None else command
    same = storage.fingerprint([command, (road or b"").decode()])
    with copied(road) as code:
        work = Work(command, same, code)
        asked = config.id or f"{name}-{storage.fingerprint([same, code.digest])}"
        try:
            _patiently(FIRST_SECONDS, lambda: Server(config.address))
        except Lost as error:
            raise UserError(f"--address {config.address}: no Ray cluster answers there: {error}") from None
        job = asked
        try:
            server, job = _patiently(config.patience, lambda: _settled(Server(config.address), asked, work))
            if not config.wait:
                return {"id": job, "state": "SUBMITTED"}
            details = _followed(config, server, job, work)
        except Lost as error:
            why = f"{config.address} has not answered for {config.patience:g} s ({error}); the same command goes on"
            return {"status": "error", "error": why, "id": job, "state": "LOST"}
        except KeyboardInterrupt:
            why = f"detached: {job} goes on; the same command follows it, `{_ray(config, 'stop', job)}` stops it"
            return {"status": "error", "error": why, "exit_code": DETACHED, "id": job, "state": "RUNNING"}
    line = {"id": job, "state": str(details.status.value)}
    if details.status == JobStatus.SUCCEEDED:
        return line
    return {"status": "error", "error": _why(job, details), "exit_code": code_of(details), **line}


def _checked(config: SubmitConfig, command: list[str]) -> tuple[str, bytes | None]:
    """A name for the work, and the road's YAML, checked as far as can be known here."""
    if (config.road is None) != bool(command):
        raise UserError("a job's command behind --, or --road FILE.yaml, and not both, says what is to be done")
    if config.road is None:
        return check_command(command), None
    values = read_yaml(config.road, "--road")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"--road: {config.road} holds no stages")
    try:
        with for_a_submitted_job():
            stages_of(build(RoadConfig, values))
    except UserError as error:
        raise UserError(f"--road {config.road}: {error}") from None
    return "road", storage.read_bytes(config.road)


def _settled(server: Server, asked: str, work: Work) -> tuple[Server, str]:
    """The server, and the id of the job that does the work: one that is there, or a new one.

    A request that a busy head dropped may be made again: an id is taken once.
    """
    for number, job in enumerate(_attempts(asked), 1):
        there = server.find(job)
        if there is None:
            _start(server, job, work)
            return server, job
        if there.metadata is None or there.metadata.get(SAME) != work.same:
            raise UserError(f"--id {asked}: that is `{there.entrypoint}`, with other arguments; name another --id")
        if there.status == JobStatus.SUCCEEDED:
            log.info("%s has succeeded before: nothing is started", job)
            return server, job
        if not there.status.is_terminal():
            log.info("%s runs already: nothing is started", job)
            return server, job
        log.info("%s has ended (%s): it is tried again as number %d", job, there.status.value, number + 1)
    raise AssertionError("attempts have no end")


def _attempts(asked: str) -> Iterator[str]:
    """The ids of an id's jobs: Ray takes no id a second time."""
    yield asked
    number = 2
    while True:
        yield f"{asked}-{number}"
        number += 1


def _start(server: Server, job: str, work: Work) -> None:
    code = work.code
    log.info("%s: sends %d files of code, %.1f MiB", job, code.files, code.size / 2**20)
    server.start(job, shlex.join(work.command), {"working_dir": str(code.folder)}, {SAME: work.same})
    log.info("%s: submitted", job)


def _followed(config: SubmitConfig, server: Server, job: str, work: Work) -> JobDetails:
    """Follow the job to its end, on the next head when one is lost.

    Raises:
        Lost: no head has come within the patience.
    """
    while True:
        try:
            return server.follow(job, _say)
        except Lost as error:
            log.warning("%s does not answer (%s): waiting for it, %g s at most", config.address, error, config.patience)
        server = _patiently(config.patience, lambda: _found_again(config, job, work))


def _found_again(config: SubmitConfig, job: str, work: Work) -> Server:
    """The server, which has the job, if it has to be given it again."""
    server = Server(config.address)
    if server.find(job) is None:
        log.info("the head is another one, which knows of no %s: it is submitted again", job)
        _start(server, job, work)
    return server


def _patiently(patience: float, attempt: Callable[[], T]) -> T:
    """What the attempt gives, when it is not `Lost` any more, within the patience [s]; the waits between two grow."""
    deadline, wait = time.monotonic() + patience, WAITS[0]
    while True:
        try:
            return attempt()
        except Lost:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
        time.sleep(min(wait, left))
        wait = min(2 * wait, WAITS[1])


def _why(job: str, details: JobDetails) -> str:
    if details.status == JobStatus.STOPPED:
        return f"{job} was stopped; the same command goes on from what is complete"
    if details.driver_exit_code is None:
        return f"{job} did not come to its end: {details.message}"
    return f"{job} ended with exit code {code_of(details)}"


def _ray(config: SubmitConfig, verb: str, job: str) -> str:
    return f"ray job {verb} --address {config.address} {job}"


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
