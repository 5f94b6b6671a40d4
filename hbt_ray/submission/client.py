"""A job server of Ray's, which may be lost and come back: one job's state, its log, and how it ended."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from hbt_ray.config import UserError
from hbt_ray.submission.stages import exit_code

SECONDS = 5  # that a server has to take a connection in
BEAT_SECONDS = 10  # between two looks at whether a followed job's server is still there
START_SECONDS = 120  # on a busy machine a head answers before its agent does
STOPPED = 3  # the exit code for a job that was stopped, which no job ends with itself
# what Ray says of itself: before a job says anything, of more processes than CPUs, and of actors that it may restart
OF_RAY = ("job_manager.py:", "Running entrypoint for job", "worker processes have been started", "core_worker.cc:")


class Lost(Exception):
    """The server does not answer, or not as one that is whole."""


class Server:
    """The job server at an address, as one connection sees it."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            Lost: nothing answers there.
            UserError: what answers is no Ray, or wants another token.
        """
        self._address = address
        bypass_proxy(address)
        self._look()
        logging.getLogger("ray").setLevel(logging.WARNING)
        try:
            self._client = self._asked(lambda: JobSubmissionClient(address))
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(f"--address {address}: no Ray answers there: {_line(error)}") from None
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # after the client, which sets it

    def find(self, job: str) -> JobDetails | None:
        """What the server knows of the job; None: nothing.

        Raises:
            Lost: it does not say.
        """
        try:
            return self._asked(lambda: self._client.get_job_info(job))
        except RuntimeError as error:
            if _status(error) != 404:
                raise Lost(_line(error)) from None
            return None

    def start(self, job: str | None, command: str, environment: dict[str, Any], about: dict[str, str]) -> str:
        """Start a job, unless one of this name is there; returns its name.

        Args:
            job: its name; None: Ray makes one.
            environment: Ray's `runtime_env` of it.
            about: metadata that the server keeps with it.

        Raises:
            Lost: the server does not take it.
            UserError: it refuses it.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._asked(
                    lambda: self._client.submit_job(
                        submission_id=job, entrypoint=command, runtime_env=environment, metadata=about
                    )
                )
            except RuntimeError as error:
                if job is not None and self.find(job):
                    return job
                if "No available agent" in str(error) and time.monotonic() < deadline:
                    time.sleep(1)
                elif 400 <= _status(error) < 500:
                    raise UserError(f"--address {self._address} refuses the job: {_line(error)}") from None
                else:
                    raise Lost(_line(error)) from None

    def follow(self, job: str, show: Callable[[str], None]) -> JobDetails:
        """Wait until the job has ended; `show` gets each line that it says.

        Raises:
            Lost: the server is gone, or knows nothing of the job.
        """
        shown = 0  # characters of the log, which begins anew with each connection

        async def read() -> None:
            nonlocal shown
            place, cut = 0, ""
            async for text in self._client.tail_job_logs(job):
                new = text[max(0, shown - place) :]
                place += len(text)
                *lines, cut = (cut + new).split("\n")
                for line in lines:
                    _show(f"{line}\n", show)
                shown = max(shown, place - len(cut))
            if cut:
                _show(cut, show)

        async def until_lost() -> None:
            log = asyncio.create_task(read())
            while not (await asyncio.wait([log], timeout=BEAT_SECONDS))[0]:
                await asyncio.to_thread(self._look)
            await log

        whole = False
        while True:
            details = self.find(job)
            if details is None:
                raise Lost(f"it knows of no job {job}")
            if whole and details.status.is_terminal():
                return details
            if not whole and details.status != JobStatus.PENDING:
                try:
                    asyncio.run(until_lost())
                    whole = True
                except (aiohttp.ClientError, RuntimeError, OSError):
                    self._look()
            time.sleep(0.2)

    def _look(self) -> None:
        """Raise `Lost` unless something listens there: Ray's own client waits for a machine that is gone for ever."""
        parts = urlsplit(self._address)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), SECONDS).close()
        except (OSError, ValueError) as error:
            raise Lost(_line(error)) from None

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except AuthenticationError:
            raise UserError(
                f"--address {self._address}: the cluster there wants its token: set RAY_AUTH_MODE=token, and"
                " RAY_AUTH_TOKEN or the file ~/.ray/auth_token to the token that it was started with"
            ) from None
        except (ConnectionError, requests.exceptions.RequestException) as error:
            raise Lost(_line(error)) from None


def bypass_proxy(address: str) -> None:
    """Have this process ask an address of this machine itself, and no HTTP proxy for it."""
    host = urlsplit(address).hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if here:
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), host]))


def code_of(details: JobDetails) -> int:
    """The exit code of a job that has ended: its own, or `STOPPED`, or 1 where it had none."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return STOPPED
    return exit_code(details.driver_exit_code or 1)


def _show(line: str, show: Callable[[str], None]) -> None:
    if not any(words in line for words in OF_RAY):
        show(line)


def _status(error: RuntimeError) -> int:
    """The HTTP status in what Ray's client says of it; 0: none."""
    found = re.search(r"status code (\d{3})", str(error))
    return int(found[1]) if found else 0


def _line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join((lines[0] if lines else type(error).__name__).split())[:300]
