"""Folders that one run holds: whose a folder is, and which process is at work in it.

`run.json` says whose the folder is: the job and the settings that decide what comes out. It is created exclusively and
stays. While a job is at work, `driver-<n>.json` says which process that is; it tells its age by being written anew
every `BEAT_SECONDS`. A driver that was killed leaves it behind, and the next one takes the number after it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hbt_ray.config import UserError
from hbt_ray.config.base import quoted
from hbt_ray.storage.fields import Shape, check
from hbt_ray.storage.files import clear, read_json, remove_file, sizes, write_json, write_new
from hbt_ray.storage.manifests import committed
from hbt_ray.storage.uris import exists, join

BEAT_SECONDS = 15
GONE_SECONDS = 60  # since its last beat, after which a driver on another machine is taken to be gone
log = logging.getLogger(__name__)


class _Driver(Shape):
    host: str
    pid: int
    born: str | None
    seen: float


class FolderHeld(UserError):
    """Another process is at work in the folder, or seems to be."""


def claim(out: str, job: str, settings: Mapping[str, Any]) -> None:
    """Take the folder `out` for one run, or find that it already holds this very run.

    Raises:
        UserError: the folder holds another run; the line names a setting that differs.
    """
    settings = json.loads(json.dumps({"job": job, **settings}))
    with contextlib.suppress(FileExistsError):
        write_new(join(out, "run.json"), _text(settings))
        return
    there = _run(out)
    for key in sorted({*settings, *there}):
        if settings.get(key) != there.get(key):
            raise UserError(
                f"{out} already holds another run: {key} is {quoted(there.get(key))} there and"
                f" {quoted(settings.get(key))} here;"
                " name another --out, or delete that folder to start anew"
            )


def take_over(
    out: str,
    job: str,
    settings: Mapping[str, Any],
    follows: Callable[[Mapping[str, Any], Mapping[str, Any]], bool],
) -> bool:
    """Give the folder to this run where it `follows` the one there, which it goes on from; returns whether it did.

    What was made stays, but is not visible as a whole any more: the run is an unfinished one now.

    Args:
        follows: says so of the job and settings there and here.

    Raises:
        FolderHeld: another process is at work in the folder.
    """
    run, here = join(out, "run.json"), json.loads(json.dumps({"job": job, **settings}))
    if not exists(run) or not follows(read_json(run), here):
        return False
    with _held(out):
        remove_file(join(out, "manifest.json"))
        write_json(run, here)
    return True


@contextlib.contextmanager
def claimed(
    out: str, job: str, settings: Mapping[str, Any], owns: Sequence[str], keeps: Sequence[str] = ()
) -> Iterator[None]:
    """Claim the folder as `claim` does, and be the only process at work in it while the block runs.

    A block that ends with a user's mistake leaves the folder to the corrected command: other settings may claim it
    then, and find it empty of what this run made. A finished run is left as it is.

    Args:
        owns: names of files and folders in `out` that only this job makes.
        keeps: names among `owns` that are never cleared: a folder that has one stays its run's.

    Raises:
        UserError: the folder holds another run, another process is at work in it, or it has something of a name in
            `owns` that no run made.
    """
    if committed(out):
        claim(out, job, settings)
        yield
        return
    with _held(out):
        _settle(out, job, settings, owns, keeps)
        try:
            yield
        except UserError as error:
            with contextlib.suppress(UserError):  # of a place where nothing can be written
                if not committed(out):
                    write_json(join(out, "failed.json"), {"error": str(error)})
            raise


def _settle(out: str, job: str, settings: Mapping[str, Any], owns: Sequence[str], keeps: Sequence[str]) -> None:
    """Claim the folder, also from a run of the same job that ended with a user's mistake."""
    run, failed = join(out, "run.json"), join(out, "failed.json")
    if not exists(run):
        for name in owns:
            if exists(join(out, name)):
                raise UserError(f"{out} has {name}, which is not of this job: name another --out")
    elif exists(failed) and _run(out).get("job") == job and not any(exists(join(out, name)) for name in keeps):
        try:
            claim(out, job, settings)
        except UserError:
            log.info("%s: a run with other settings failed there; what it left is cleared", out)
            for name in owns:
                clear(join(out, name))
            remove_file(run)
    claim(out, job, settings)
    remove_file(failed)


@contextlib.contextmanager
def _held(out: str) -> Iterator[None]:
    """Be the one driver in `out` while the block runs."""
    number = _take(out)
    uri, ended = join(out, _name(number)), threading.Event()
    beat = threading.Thread(target=_beat, args=(uri, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        for name in sorted(_drivers(out)):  # the older ones first: a later one must not be taken for the only one
            if name <= _name(number):
                remove_file(join(out, name))


def _take(out: str) -> int:
    while True:
        names = sorted(_drivers(out))
        if names:
            with contextlib.suppress(FileNotFoundError):
                _refuse_alive(out, _read(join(out, names[-1]), _Driver))
        number = int(names[-1].removeprefix("driver-").removesuffix(".json")) + 1 if names else 1
        with contextlib.suppress(FileExistsError):
            write_new(join(out, _name(number)), _text(_me()))
            return number


def _refuse_alive(out: str, driver: Mapping[str, Any]) -> None:
    age = time.time() - driver["seen"]
    if driver["host"] == socket.gethostname() and driver["born"] is not None:
        alive = _born(driver["pid"]) == driver["born"]
    else:
        alive = age < GONE_SECONDS
    if not alive:
        return
    raise FolderHeld(
        f"{out} is at work: process {driver['pid']} on {driver['host']} holds it, last seen {age:.0f} s ago"
    )


def _beat(uri: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        try:
            write_json(uri, _me())
        except Exception as error:  # storage that does not answer for a while must not end the run
            log.warning("%s could not be renewed: %s", uri, error)


def _me() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "seen": time.time()}


def _born(pid: int) -> str | None:
    """When the process began, by Linux's count; None when there is none, or no such count."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _drivers(out: str) -> list[str]:
    return [name for name in sizes(out) if re.fullmatch(r"driver-\d{6,18}\.json", name)]


def _name(number: int) -> str:
    return f"driver-{number:06d}.json"


def _run(out: str) -> dict[str, Any]:
    return _read(join(out, "run.json"), Shape)


def _read(uri: str, shape: type[Shape]) -> dict[str, Any]:
    found: dict[str, Any] = read_json(uri)
    check(found, shape, uri)
    return found


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
