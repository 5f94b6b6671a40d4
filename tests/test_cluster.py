"""A cluster of a job's own, and one of `cluster/local.py`: who may use it, and what is said where none can be had."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from heads import ROOT, local

OWN = """
import os, subprocess, sys
from hbt_ray import cluster
cluster.join()
import ray
there = ray.get_runtime_context().gcs_address
asks = "from hbt_ray import cluster; cluster.join()"
for token in ({}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}):
    apart = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    given = {**apart, **token, "RAY_ADDRESS": there}
    done = subprocess.run([sys.executable, "-c", asks], env=given, stderr=subprocess.PIPE, text=True)
    print("refused" if "the Ray cluster there wants its token" in done.stderr else done.stderr)
"""


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}


@pytest.mark.long
def test_nobody_joins_the_cluster_that_a_job_starts_for_itself(tmp_path: Path) -> None:
    """Its ports are open on all addresses, which Ray 2.60 lets nobody change; its token is the job's secret."""
    free = without("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS")
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
    done = subprocess.run(
        [sys.executable, "-c", OWN], env={**free, **home}, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["refused"] * 3, done.stderr
    assert not (tmp_path / ".ray").exists()  # a job touches nothing outside its output


@pytest.mark.long
def test_the_head_on_this_machine_is_its_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where no proxy is
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with local().head(cpus=1) as (address, _):
        started = [one for one in psutil.Process().children(recursive=True) if one.pid not in before]
        (folder,) = {
            Path(part.removeprefix("--temp-dir="))
            for process in started
            for part in process.cmdline()
            if part.startswith("--temp-dir=")
        }
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        port = int(address.rpartition(":")[2])
        listening = {
            one.laddr.ip
            for process in started
            for one in process.net_connections()
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port
        }
        assert listening and {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert not folder.parent.exists()


def test_a_temporary_folder_with_too_long_a_name(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    done = subprocess.run(
        [sys.executable, "cluster/local.py", "--", "true"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(long)}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {long}/") and "set TMPDIR to a shorter one" in done.stderr
