"""A folder is one run's: of several that claim it one gets it, and one process at a time is at work in it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.storage import claims

HOLD = """
import sys, time
from hbt_ray import storage
with storage.claimed(sys.argv[1], "train", {"seed": 0}, ("work",)):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "folder") if request.param == "local" else request.getfixturevalue("s3") + tmp_path.name


def names(uri: str) -> list[str]:
    return sorted(storage.sizes(uri))


def test_of_runs_that_start_together_one_gets_the_folder(folder: str) -> None:
    tries, runs = 12, 4
    start = Barrier(runs)

    def attempt(seed: int, out: str) -> bool:
        start.wait()
        try:
            storage.claim(out, "train", {"seed": seed})
        except UserError as error:
            assert "already holds another run: seed is" in str(error)
            return False
        return True

    with ThreadPoolExecutor(runs) as pool:
        for number in range(tries):
            out = storage.join(folder, str(number))
            assert sum(pool.map(attempt, range(runs), [out] * runs)) == 1


def test_a_second_driver_is_told_who_is_at_work(folder: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == b"held\n"
        for seed in (0, 1):
            with (
                pytest.raises(UserError, match=f"is at work: process {driver.pid} on "),
                storage.claimed(folder, "train", {"seed": seed}, ("work",)),
            ):
                raise AssertionError("two drivers in one folder")
        driver.kill()
    with storage.claimed(folder, "train", {"seed": 0}, ("work",)):  # what a killed driver left holds nobody up
        assert names(folder) == ["driver-000001.json", "driver-000002.json", "run.json"]
    assert names(folder) == ["run.json"]


def test_a_driver_elsewhere_is_gone_when_it_has_been_silent(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with storage.claimed(folder, "train", {}, ()):
        monkeypatch.setattr(socket, "gethostname", lambda: "another machine")
        with pytest.raises(UserError, match="is at work"), storage.claimed(folder, "train", {}, ()):
            raise AssertionError("two drivers in one folder")
        monkeypatch.setattr(claims, "GONE_SECONDS", -1)
        with storage.claimed(folder, "train", {}, ()):
            assert "driver-000002.json" in names(folder)


def test_a_mistake_leaves_the_folder_to_the_corrected_command(folder: str) -> None:
    made = storage.join(folder, "work", "part")
    with pytest.raises(UserError, match="a bad tag"), storage.claimed(folder, "prepare", {"tags": 1}, ("work",)):
        storage.write_bytes(made, b"1")
        raise UserError("a bad tag")
    assert storage.exists(made)
    with pytest.raises(UserError, match="job is 'prepare' there"), storage.claimed(folder, "index", {}, ("work",)):
        raise AssertionError("another job's folder")
    with storage.claimed(folder, "prepare", {"tags": 2}, ("work",)):
        assert not storage.exists(made)
        storage.write_bytes(storage.join(folder, "state"), b"1")
    # a run that did not end with a mistake, or keeps something that is dear, is not cleared
    for keeps in ((), ("state",)):
        with (
            pytest.raises(UserError, match="tags is 2 there and 3 here; name another --out, or delete that folder"),
            storage.claimed(folder, "prepare", {"tags": 3}, ("work",), keeps),
        ):
            raise AssertionError("another run's folder")
        with pytest.raises(UserError, match="again"), storage.claimed(folder, "prepare", {"tags": 2}, ("work",), keeps):
            raise UserError("again")


def test_what_is_the_users_is_not_taken_for_ours(folder: str) -> None:
    theirs = storage.join(folder, "streams", "notes.txt")
    storage.write_bytes(theirs, b"mine")
    with (
        pytest.raises(UserError, match="has streams, which is not of this job"),
        storage.claimed(folder, "prepare", {}, ("work", "streams")),
    ):
        raise AssertionError("a folder that is not ours")
    assert storage.read_bytes(theirs) == b"mine"
    assert names(folder) == []


def test_a_finished_run_needs_no_driver(folder: str) -> None:
    with storage.claimed(folder, "index", {"k": 1}, ("shards",)):
        storage.commit(folder, "index", {})
    before = names(folder)
    with storage.claimed(folder, "index", {"k": 1}, ("shards",)):
        assert names(folder) == before
    with pytest.raises(UserError, match="k is 1 there"), storage.claimed(folder, "index", {"k": 2}, ("shards",)):
        raise AssertionError("another run's folder")


def test_a_run_that_follows_another_takes_its_folder(folder: str) -> None:
    def longer(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
        return bool({**there, "steps": 0} == {**here, "steps": 0} and there["steps"] < here["steps"])

    assert not storage.take_over(folder, "train", {"seed": 0, "steps": 9}, longer)  # there is none
    with storage.claimed(folder, "train", {"seed": 0, "steps": 5}, ("work",)):
        storage.write_bytes(storage.join(folder, "work", "a"), b"made")
        with pytest.raises(claims.FolderHeld, match="is at work"):
            storage.take_over(folder, "train", {"seed": 0, "steps": 9}, longer)
        storage.commit(folder, "model", {})
    for job, other in (("train", {"seed": 1, "steps": 9}), ("train", {"seed": 0, "steps": 4}), ("encode", {"seed": 0})):
        assert not storage.take_over(folder, job, {"steps": 4, **other}, longer)
    assert storage.committed(folder)
    assert storage.take_over(folder, "train", {"seed": 0, "steps": 9}, longer)
    assert not storage.committed(folder) and storage.exists(storage.join(folder, "work", "a"))
    storage.claim(folder, "train", {"seed": 0, "steps": 9})
    with pytest.raises(UserError, match="steps is 9 there and 5 here"):
        storage.claim(folder, "train", {"seed": 0, "steps": 5})
