"""A Ray head on this machine for one job: start it, submit the job, follow it, stop what was started.

    python cluster/local.py [--cpus N] -- python jobs/demo.py --out runs/demo

The job runs in the folder that it is called from, so paths mean what they say, and ends with its own exit code. Ports
are free ones on loopback, and a token of its own guards the head; other Ray clusters here are not touched.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_SECONDS = 120
STOP_SECONDS = 3  # a head that is asked to stop drains for half a minute, though its only job has ended
# what Ray says of itself: before a job says anything, of more processes than CPUs, and of actors that it may restart
OF_RAY = ("job_manager.py:", "Running entrypoint for job", "worker processes have been started", "core_worker.cc:")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", type=int, default=max(4, os.cpu_count() or 1), help="logical CPUs of the head")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the job's command")
    arguments = parser.parse_args()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a terminated script stops its head too
    with head(arguments.cpus) as (address, environment):
        os.environ.update(environment)
        return follow(address, command)


def follow(address: str, command: list[str]) -> int:
    """Submit the command, which runs in this folder, and show what it says; returns its exit code."""
    from ray.job_submission import JobStatus, JobSubmissionClient  # here, since it reads the token when it is imported

    logging.getLogger("ray").setLevel(logging.WARNING)
    client = JobSubmissionClient(address)
    folder = str(Path.cwd())
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    job = _submit(client, f"cd {shlex.quote(folder)} && exec {shlex.join(command)}", {"PYTHONPATH": path})

    async def show() -> None:
        async for lines in client.tail_job_logs(job):
            for line in lines.splitlines(keepends=True):
                if not any(words in line for words in OF_RAY):
                    print(line, end="", flush=True)

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    asyncio.run(show())
    while not (status := client.get_job_status(job)).is_terminal():
        time.sleep(0.1)
    code = client.get_job_info(job).driver_exit_code
    return code if code is not None else int(status != JobStatus.SUCCEEDED)


def _submit(client: Any, command: str, variables: dict[str, str]) -> str:
    """Submit a job; on a busy machine the head answers before its agent does."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return str(client.submit_job(entrypoint=command, runtime_env={"env_vars": variables}))
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise


@contextlib.contextmanager
def head(cpus: int) -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head while the block runs; gives the address of its dashboard, and the environment of its clients."""
    ray = str(Path(sys.executable).parent / "ray")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    names = ["", "dashboard-", "dashboard-agent-listen-", "dashboard-agent-grpc-", "ray-client-server-"]
    names += ["metrics-export-", "runtime-env-agent-"]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [
                *(ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats"),
                *(f"--{name}port={port}" for name, port in ports.items()),
                *(f"--num-cpus={cpus}", f"--temp-dir={folder}"),
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{ports['dashboard-']}"
            _wait(address, process)
            yield address, environment
        finally:
            _stop(process, folder)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(
                f"the Ray head ended with {process.returncode}; is a port taken, or a token file unreadable?"
            )
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(f"{address}/api/gcs_healthz", timeout=2)
                return
            except urllib.error.HTTPError:
                return  # it answers, if only to ask for the token
        time.sleep(0.5)
    raise SystemExit(f"the Ray head did not answer within {START_SECONDS} s")


def _stop(process: subprocess.Popen[bytes], folder: str) -> None:
    """End the head and whatever it started: all of it names the head's own folder."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.encode() in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
