"""What is checked of a road and of a command before anything is submitted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from heads import ROOT

from hbt_ray.command import build
from hbt_ray.config import RoadConfig, UserError
from hbt_ray.config.uris import for_a_submitted_job
from hbt_ray.submission.code import copied
from hbt_ray.submission.commands import JOBS, check_command
from hbt_ray.submission.road import stages_of

STORE = {"job": "prepare", "source": "world-facts", "tokenizer": "train:100", "out": "s3://bucket/store"}
MODEL = {"job": "train", "data": "$store", "encoder": {"model": "tiny"}, "steps": 2, "out": "s3://bucket/model"}
SCORES = {"job": "evaluate", "task": "world-facts", "encoder": {"model": "${model}/model"}, "out": "s3://bucket/e"}


def stages(**changed: Any) -> list[Any]:
    given = {"store": STORE, "model": MODEL, "scores": SCORES}
    with for_a_submitted_job():
        return stages_of(build(RoadConfig, {"stages": {**given, **changed}}))


def test_each_job_has_its_settings() -> None:
    """Every script takes what a road checks it by."""
    apart = {"benchmark", "road", "submit"}
    scripts = {path.stem: path.read_text() for path in (ROOT / "jobs").glob("*.py") if path.stem not in apart}
    found = {name: re.search(r"^    main\((\w+),", text, re.MULTILINE) for name, text in scripts.items()}
    assert {name: match and match[1] for name, match in found.items()} == {
        name: settings.__name__ for name, settings in JOBS.items()
    }


def test_a_stage_names_what_earlier_ones_make() -> None:
    _, model, scores = stages()
    assert model.settings["data"] == "s3://bucket/store"
    assert scores.settings["encoder"] == {"model": "s3://bucket/model/model"}
    assert (scores.name, scores.job, scores.out) == ("scores", "evaluate", "s3://bucket/e")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"model": {**MODEL, "job": "trian"}},
            "stage model: there is no job trian, is train meant.; there are ",
        ),
        ({"model": {**MODEL, "stpes": 3}}, "stage model: --stpes: extra inputs .*; is --steps meant"),
        ({"model": {**MODEL, "alpha": 0.3}}, "stage model: --alpha: extra inputs .*; is --batches.alpha meant"),
        ({"model": {**MODEL, "data": "$stroe"}}, "stage model: '.stroe': stroe is no stage, is store meant"),
        ({"model": {**MODEL, "data": "$scores"}}, "stage model: '.scores': scores comes not before this one"),
        ({"model": {**MODEL, "data": "$ store"}}, "stage model: .* a dollar sign is "),
        ({"model": {**MODEL, "steps": "many"}}, "stage model: --steps: .* not 'many'"),
        ({"model": {"jbo": "train"}}, "stage model: job: says which of the jobs it is, and is missing, is jbo meant"),
        ({"model": {**MODEL, "out": "runs/model"}}, "stage model: --out: runs/model is relative, and a submitted job"),
        ({"Model": MODEL}, "stage Model: a name has small letters"),
    ],
)
def test_a_mistake_in_a_road_is_one_line_with_the_nearest_name(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}") as error:
        stages(**changed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["python", "jobs/trian.py", "--steps", "3"], "jobs/trian.py: there is no job trian, is train meant"),
        (["python", "jobs/train.py", "--stpes", "3"], "--stpes: there is no such flag; is --steps meant"),
        (["python", "jobs/prepare.py", "--input", "a/b", "--tokenizer", "b", "--out", "/c"], ".*a/b is relative"),
    ],
)
def test_a_mistake_in_a_command_is_told_before_it_is_submitted(command: list[str], line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}"):
        check_command(command)


def test_other_commands_are_the_users_own() -> None:
    assert check_command(["python", "-c", "print(1)"]) == check_command(["true"]) == "job"
    assert check_command(["python", "jobs/benchmark.py", "--name", "imports"]) == "benchmark"


def test_only_the_code_is_sent() -> None:
    with copied(b"stages: {}") as code:
        top = {path.name for path in code.folder.iterdir()}
        names = {path.relative_to(code.folder).as_posix() for path in code.folder.rglob("*")}
        first = code.digest
    assert {"hbt_ray", "jobs", "cluster", "pyproject.toml", "constraints.txt", "road.yaml"} <= top
    assert not top & {".git", ".venv", "runs", "tests", "shared"}
    assert "hbt_ray/submission/code.py" in names and not [name for name in names if "__pycache__" in name]
    with copied(b"stages: {a: {}}") as code:
        assert code.digest != first


def test_a_road_runs_without_a_submission_and_ends_where_a_stage_fails(tmp_path: Path) -> None:
    road = tmp_path / "road.yaml"
    stage = {"job": "report", "runs": [f"{tmp_path}/none"], "out": f"{tmp_path}/report"}
    after = {"job": "report", "runs": ["$first"], "out": f"{tmp_path}/after"}
    road.write_text(yaml.safe_dump({"stages": {"first": stage, "second": after}}, sort_keys=False))
    done = subprocess.run(
        [sys.executable, "jobs/road.py", "--config", str(road)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "error: stage first ended with exit code 2: " in done.stderr and "second: begins" not in done.stderr
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "error: a job's command behind --, or --road FILE.yaml, and not both"),
        (("--", "true"), "error: --address http://127.0.0.1:1: no Ray cluster answers there: .*refused"),
        (("--road", "/nowhere.yaml"), "error: --road: cannot read /nowhere.yaml"),
    ],
)
def test_a_mistake_in_a_submission_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    done = subprocess.run(
        [sys.executable, "jobs/submit.py", "--address", "http://127.0.0.1:1", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(line, done.stderr) and "Traceback" not in done.stderr
