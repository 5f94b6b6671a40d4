"""A Ray head on this machine for one job: start it, submit the job, follow it, stop what was started.

    python cluster/local.py [--cpus N] -- python jobs/demo.py --out runs/demo

The job runs in the folder that it is called from, so paths mean what they say, and ends with its own exit code, or 3
when it was stopped. The dashboard listens on loopback. Ray 2.60 opens the ports of its other parts on all addresses of
the machine, whatever it is told; nobody gets in there without the head's token, which is new each time and known to
its own processes only. Ports are free ones, and other Ray clusters here are not touched.
"""

from __future__ import annotations

import argparse
import contextlib
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

START_SECONDS = 120
STOP_SECONDS = 3  # a head that is asked to stop drains for half a minute, though its only job has ended
SOCKET = "session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"  # of a head, in its folder
LONGEST = 107  # name of a socket [bytes]
PROXY = ("no_proxy", "NO_PROXY")


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
    # here, since Ray reads the token when it is imported
    from hbt_ray.config.uris import FOLDER
    from hbt_ray.submission.client import Server, code_of

    folder = str(Path.cwd())
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    server = Server(address)
    entry = f"cd {shlex.quote(folder)} && exec {shlex.join(command)}"
    job = server.start(None, entry, {"env_vars": {"PYTHONPATH": path}}, {FOLDER: folder})
    return code_of(server.follow(job, lambda line: print(line, end="", flush=True)))


@contextlib.contextmanager
def head(cpus: int, port: int | None = None, token: str | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head while the block runs; gives the address of its dashboard, and the environment of its clients.

    Args:
        port: of its dashboard; None: a free one.
        token: that guards it; None: a new one.
    """
    ray = str(Path(sys.executable).parent / "ray")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token or secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        **{name: ",".join(filter(None, [os.environ.get(name), "127.0.0.1"])) for name in PROXY},
    }
    names = ["", "dashboard-", "dashboard-agent-listen-", "dashboard-agent-grpc-", "ray-client-server-"]
    names += ["metrics-export-", "runtime-env-agent-"]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    ports["dashboard-"] = port or ports["dashboard-"]
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as private:
        folder = f"{private}/head"  # which Ray opens to everybody, inside of one that is this user's alone
        if len(os.fsencode(f"{folder}/{SOCKET}")) > LONGEST:
            print(f"error: {private} has too long a name for sockets: set TMPDIR to a shorter one", file=sys.stderr)
            raise SystemExit(2)
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
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(
                f"the Ray head ended with {process.returncode}; is a port taken, or a token file unreadable?"
            )
        with contextlib.suppress(OSError):
            try:
                direct.open(f"{address}/api/gcs_healthz", timeout=2)
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
