"""The jobs as a user starts them: as scripts, and with `ray job submit` on a head of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from heads import ROOT, local

from hbt_ray import storage

JOBS = sorted(path.name for path in (ROOT / "jobs").glob("*.py"))


def start(
    job: str, *arguments: str, python: Sequence[str] = (), environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, f"jobs/{job}.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def mistake(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a run that ended by the user's mistake."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert json.loads(done.stdout.splitlines()[-1]) == {"status": "error", "error": line.removeprefix("error: ")}
    return line


@pytest.mark.parametrize("job", JOBS)
def test_help_says_default_and_unit_without_loading_ray(job: str) -> None:
    done = start(job.removesuffix(".py"), "--help", python=("-X", "importtime"))
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hbt_ray.config" in loaded and not loaded & {"ray", "torch", "pyarrow"}
    assert "[URI]" in done.stdout
    assert "default:" in done.stdout or "(required)" in done.stdout


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("http://127.0.0.1:8265", "error: RAY_ADDRESS=http://127.0.0.1:8265 is a dashboard's address"),
        ("127.0.0.1:1", "error: RAY_ADDRESS=127.0.0.1:1: no Ray cluster answers there"),
        ("ray://127.0.0.1:1", "error: RAY_ADDRESS=ray://127.0.0.1:1: no Ray cluster answers there"),
        ("nowhere", "error: RAY_ADDRESS=nowhere: no Ray cluster answers there"),
        ("auto", "error: RAY_ADDRESS=auto: no Ray cluster runs on this machine"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_said_at_once(address: str, line: str, tmp_path: Path) -> None:
    arguments = ("--input", f"{tmp_path}/a.parquet", "--tokenizer", "train:100", "--out", f"{tmp_path}/out")
    environment = {"RAY_ADDRESS": address, "RAY_TMPDIR": str(tmp_path)}  # where no cluster has left its address
    assert mistake(start("prepare", *arguments, environment=environment)).startswith(line)


@pytest.mark.parametrize("speaks", [True, False])
def test_what_is_no_ray_cluster_is_not_waited_for(speaks: bool, tmp_path: Path) -> None:
    """Another server at the port, or something that takes the connection and never says a word."""
    arguments = ("--input", f"{tmp_path}/a.parquet", "--tokenizer", "train:100", "--out", f"{tmp_path}/out")
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port if speaks else silent.getsockname()[1]}"
        line = mistake(start("prepare", *arguments, environment={"RAY_ADDRESS": address}))
        server.shutdown()
    assert line == f"error: RAY_ADDRESS={address}: no Ray cluster answers there"


def test_a_mistake_is_one_line_and_code_2_and_a_cluster_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    cut = tmp_path / "cut.parquet"
    columns = {"query": ["q"], "query_lang": ["de"], "passage": ["p"], "passage_lang": ["de"]}
    pq.write_table(pa.table(columns), cut)
    cut.write_bytes(cut.read_bytes()[:-7])
    arguments = ("--source", "pairs", "--input", str(cut), "--tokenizer", "train:100", "--out", str(out))
    with tempfile.TemporaryDirectory(prefix="ray") as home:  # the test's own has too long a name
        (Path(home) / "ray").mkdir()
        (Path(home) / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        line = mistake(start("prepare", *arguments, environment={"RAY_TMPDIR": home, "RAY_ADDRESS": ""}))
    assert "cut.parquet is not a whole parquet file" in line
    assert not storage.committed(str(out))


@pytest.mark.long
def test_a_folder_of_ray_with_too_long_a_name(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    arguments = ("--input", f"{tmp_path}/a.parquet", "--tokenizer", "train:100", "--out", out)
    told = mistake(start("prepare", *arguments, environment={"RAY_TMPDIR": str(long), "RAY_ADDRESS": ""}))
    assert "set RAY_TMPDIR to a shorter one" in told


def test_a_mistake_in_settings_starts_nothing(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    told = mistake(start("train", "--data", "a", "--out", out, "--model", "tiny", "--alpha", "7"))
    assert "--alpha: input should be less than" in told


def test_a_first_look_at_an_input_needs_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text("anchor\tpositive\nwhere?\there\n")
    arguments = ("--input", f"faq={tmp_path}/in.tsv", "--language", "en", "--tokenizer", "train:100", "--inspect", "1")
    done = start("prepare", *arguments, "--out", f"{tmp_path}/out", environment={"RAY_ADDRESS": "nowhere:1"})
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout.splitlines()[-1])["inputs"]
    assert (found["name"], found["source"], found["columns"]["query"]) == ("faq", "pairs", "anchor")
    assert "where?" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_score_that_differs_ends_check_with_code_1(tmp_path: Path) -> None:
    texts = {"id": ["1"], "lang": ["en"], "text": ["iron"]}
    data = tmp_path / "task"
    data.mkdir()
    pq.write_table(pa.table(texts), data / "documents.parquet")
    pq.write_table(pa.table({**texts, "item": ["1"]}), data / "queries.parquet")
    entry = {"encoder": {"model": "bm25"}, "task": "world-facts", "source": "", "tolerance": 0.01}
    scores = {"monolingual": {"map": 0.5, "by_language": {"en": 1.0}}}
    (tmp_path / "expected.yaml").write_text(json.dumps([{**entry, "settings": scores}]))
    arguments = ("--expected", f"{tmp_path}/expected.yaml", "--data", f"world-facts={data}")
    done = start("check", *arguments, "--out", f"{tmp_path}/out")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "FAIL" in done.stderr and "OK" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "status": "error", "error": "1 of 2 scores differ", "OK": 1, "close": 0, "FAIL": 1, "skipped": 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def head() -> Iterator[tuple[str, dict[str, str]]]:
    with local().head(cpus=4) as found:
        yield found


@pytest.mark.long
def test_ray_job_submit_tells_success_from_failure(tmp_path: Path, head: tuple[str, dict[str, str]]) -> None:
    def run(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        submit = [str(Path(sys.executable).parent / "ray"), "job", "submit", f"--address={head[0]}", "--working-dir=."]
        return subprocess.run(
            [*submit, "--", "python", f"jobs/{job}.py", *arguments],
            cwd=ROOT,
            env=head[1],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    store, out = str(tmp_path / "store"), str(tmp_path / "run")
    prepared = run(
        "prepare", "--source", "world-facts", "--tokenizer", "train:3000", "--partitions", "1", "--out", store
    )
    assert prepared.returncode == 0, prepared.stdout
    assert '{"status": "ok"' in prepared.stdout
    arguments = ("--data", store, "--model", "tiny", "--steps", "3", "--batch-size", "8", "--zero-stage", "1")
    trained = run("train", *arguments, "--workers", "2", "--out", out)
    assert trained.returncode == 0, trained.stdout
    assert (tmp_path / "run" / "model" / "modules.json").exists()
    refused = run("train", *arguments, "--workers", "3", "--out", str(tmp_path / "other"))
    assert refused.returncode != 0
    assert "error: --batch-size 8 cannot be divided among --workers 3" in refused.stdout
    assert not (tmp_path / "other").exists()
    lost = run("prepare", "--source", "world-facts", "--tokenizer", "train:3000", "--out", "runs/lost")
    assert lost.returncode != 0
    assert "--out: runs/lost is relative, and a submitted job runs in a folder of the cluster" in lost.stdout
