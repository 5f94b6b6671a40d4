"""Submitting to a real head with a token: each way a job may end, one id started once, and a head that is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import yaml
from heads import ROOT, local

pytestmark = pytest.mark.long


class Head(NamedTuple):
    address: str
    environment: dict[str, str]

    def ask(self, path: str, method: str = "get") -> Any:
        """What the head's job server says at this path."""
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        return requests.request(method, f"{self.address}/api/jobs/{path}", headers=token, timeout=30).json()

    def jobs(self) -> dict[str, str]:
        """The state of each submission there has been, by its id."""
        return {one["submission_id"]: one["status"] for one in self.ask("") if one["submission_id"]}


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with local().head(cpus=4) as found:
        yield Head(*found)


def command(head: Head, *options: str, job: Sequence[str] = ()) -> list[str]:
    tail = ["--", *job] if job else []
    return [sys.executable, "jobs/submit.py", "--address", head.address, *options, *tail]


def submit(head: Head, *options: str, job: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(head, *options, job=job),
        cwd=ROOT, env=head.environment, capture_output=True, text=True, timeout=1000, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextlib.contextmanager
def submitting(head: Head, *options: str, job: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A submission under way, whose stdout and stderr go to the log."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command(head, *options, job=job), cwd=ROOT, env=head.environment, stdout=file, stderr=file, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_for(found: Callable[[], Any], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def pids() -> set[int]:
    """The processes that this one has started."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


def kill(lost: set[int]) -> None:
    """Kill each of these processes, without a word to any."""
    for pid in lost:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def last(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def test_a_job_runs_once_for_an_id_and_its_output_is_seen(head: Head, tmp_path: Path) -> None:
    job = ("python", "-c", f"import hbt_ray; print(hbt_ray.__file__); open('{tmp_path}/ran', 'a').write('x')")
    first = submit(head, job=job)
    assert first.returncode == 0, first.stderr
    assert "working_dir_files" in first.stdout  # the code that was sent
    assert "files of code" in first.stderr and "MiB" in first.stderr
    second = submit(head, job=job)
    assert second.returncode == 0, second.stderr
    assert last(first) == last(second)
    assert "has succeeded before: nothing is started" in second.stderr
    assert (tmp_path / "ran").read_text() == "x"
    other = submit(head, "--id", last(first)["id"], job=("python", "-c", "print(2)"))
    assert other.returncode == 2
    assert "with other arguments; name another --id" in other.stderr


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (("python", "jobs/prepare.py", "--input", "/nowhere/qa", "--tokenizer", "train:100", "--out", "/nowhere/s"), 2),
        (("python", "-c", "raise ValueError"), 1),
        (("python", "-c", "import os; os.abort()"), 134),
    ],
)
def test_the_exit_code_is_the_jobs(head: Head, job: Sequence[str], code: int) -> None:
    done = submit(head, job=job)
    assert done.returncode == code, done.stderr
    line = last(done)
    assert (line["status"], line["state"], line["exit_code"]) == ("error", "FAILED", code)
    assert f"{line['id']} ended with exit code {code}" in done.stderr


def test_one_that_failed_is_tried_again_by_the_same_command(head: Head, tmp_path: Path) -> None:
    job = ("python", "-c", f"import os; os.rmdir('{tmp_path}/there')")
    assert submit(head, "--id", "again", job=job).returncode == 1
    (tmp_path / "there").mkdir()
    assert submit(head, "--id", "again", job=job).returncode == 0
    assert submit(head, "--id", "again", job=job).returncode == 0
    states = {name: state for name, state in head.jobs().items() if name.startswith("again")}
    assert states == {"again": "FAILED", "again-2": "SUCCEEDED"}


def test_ctrl_c_leaves_the_job_alone_and_a_stopped_one_has_a_code_of_its_own(head: Head, tmp_path: Path) -> None:
    job = ("python", "-c", "import time; print('at', 'work'); time.sleep(500)")
    log = tmp_path / "log"
    with submitting(head, "--id", "long", job=job, log=log) as left:
        wait_for(lambda: "at work" in log.read_text())
        left.send_signal(signal.SIGINT)
        assert left.wait(60) == 130
    assert f"`ray job stop --address {head.address} long` stops it" in log.read_text()
    with submitting(head, "--id", "long", job=job, log=log) as follower:
        wait_for(lambda: "at work" in log.read_text())
        assert "long runs already: nothing is started" in log.read_text()
        head.ask("long/stop", "post")
        assert follower.wait(60) == 3
    assert "long was stopped" in log.read_text()
    assert [name for name in head.jobs() if name.startswith("long")] == ["long"]


def test_without_waiting(head: Head) -> None:
    done = submit(head, "--no-wait", "--id", "later", job=("python", "-c", "print('done')"))
    assert (done.returncode, last(done)) == (0, {"status": "ok", "id": "later", "state": "SUBMITTED"})
    wait_for(lambda: head.jobs()["later"] == "SUCCEEDED")


def test_a_wrong_token_is_said(head: Head) -> None:
    stranger = Head(head.address, {**head.environment, "RAY_AUTH_TOKEN": "f" * 64})
    done = submit(stranger, job=("python", "-c", "print(1)"))
    assert done.returncode == 2
    assert f"--address {head.address}: the cluster there wants its token" in done.stderr


def test_a_lost_head(tmp_path: Path) -> None:
    script, others = local(), pids()
    seconds = f"500 * (not os.path.exists('{tmp_path}/x'))"
    job = ("python", "-c", f"import os, time; print('try', 'it'); time.sleep({seconds})")
    log = tmp_path / "log"
    with script.head(cpus=2) as found:
        first = Head(*found)
        with submitting(first, "--id", "kept", "--patience", "300", job=job, log=log) as process:
            wait_for(lambda: "try it" in log.read_text())
            kill(pids() - others - {process.pid})
            wait_for(lambda: "does not answer" in log.read_text())
            (tmp_path / "x").touch()
            port = int(first.address.rpartition(":")[2])
            with script.head(2, port, first.environment["RAY_AUTH_TOKEN"]) as again:
                assert process.wait(200) == 0, log.read_text()
                assert Head(*again).jobs() == {"kept": "SUCCEEDED"}
    assert "knows of no kept: it is submitted again" in log.read_text()
    assert log.read_text().count("try it") == 2


def test_a_head_that_stays_away_is_given_up(tmp_path: Path) -> None:
    log, others = tmp_path / "log", pids()
    job = ("python", "-c", "import time; print('at', 'work'); time.sleep(500)")
    with local().head(cpus=2) as found, submitting(Head(*found), "--patience", "3", job=job, log=log) as process:
        wait_for(lambda: "at work" in log.read_text())
        kill(pids() - others - {process.pid})
        assert process.wait(100) == 1
    assert f"{found[0]} has not answered for 3 s" in log.read_text()


@pytest.mark.timeout(3000)
def test_a_road_ends_well_and_a_second_one_does_nothing_again(head: Head, tmp_path: Path) -> None:
    data = tmp_path / "task"
    data.mkdir()
    texts = {"id": ["1", "2"], "lang": ["en", "de"], "text": ["iron", "Eisen"]}
    pq.write_table(pa.table({**texts, "item": ["1", "1"]}), data / "queries.parquet")
    pq.write_table(pa.table({**texts, "item": ["1", "1"]}), data / "documents.parquet")
    pq.write_table(pa.table(texts), tmp_path / "corpus.parquet")
    out = str(tmp_path / "out")
    stages: dict[str, dict[str, Any]] = {
        "store": {"job": "prepare", "source": "world-facts", "tokenizer": "train:3000", "partitions": 1},
        "model": {
            "job": "train", "data": "$store", "encoder": {"model": "tiny"}, "steps": 2, "workers": 1,
            "batches": {"batch_size": 8},
        },
        "vectors": {"job": "encode", "corpus": f"{tmp_path}/corpus.parquet", "encoder": {"model": "$model/model"}},
        "scores": {"job": "evaluate", "task": "world-facts", "data": str(data), "encoder": {"model": "$model/model"}},
    }  # fmt: skip
    for name, stage in stages.items():
        stage["out"] = f"{out}/{name}"
    road = tmp_path / "my road.yaml"
    road.write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    done = submit(head, "--road", str(road), "--id", "road-1")
    assert done.returncode == 0, done.stdout[-3000:]
    for number, name in enumerate(stages, 1):
        assert f"stage {number} of 4, {name}: done, " in done.stdout
    assert (tmp_path / "out" / "scores" / "results.json").exists()
    again = submit(head, "--road", str(road), "--id", "road-2")
    assert again.returncode == 0, again.stdout[-3000:]
    for number, name in enumerate(stages, 1):
        assert f"stage {number} of 4, {name}: nothing to do, " in again.stdout
    stages["store"]["tokenizer"] = "train:2000"
    road.write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    refused = submit(head, "--road", str(road), "--id", "road-3")
    assert refused.returncode == 2
    assert f"stage store ended with exit code 2: {out}/store already holds another run" in refused.stdout
    assert "model: begins" not in refused.stdout


def test_a_job_started_beside_a_head_of_another_token_is_told(head: Head, tmp_path: Path) -> None:
    """A job that would join by RAY_ADDRESS, at once and in one line."""
    stranger = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
    (gcs,) = {
        part.removeprefix("--gcs_server_port=")
        for process in psutil.Process().children(recursive=True)
        for part in process.cmdline()
        if part.startswith("--gcs_server_port=")
    }
    done = subprocess.run(
        [sys.executable, "jobs/prepare.py", "--input", "/nowhere", "--tokenizer", "train:9", "--out", f"{tmp_path}/o"],
        cwd=ROOT, env={**stranger, "RAY_ADDRESS": f"127.0.0.1:{gcs}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"error: 127.0.0.1:{gcs}: the Ray cluster there wants its token" in done.stderr
