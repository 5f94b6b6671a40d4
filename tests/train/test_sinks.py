"""A run's points reach MLflow and W&B as they reach TensorBoard, by the real libraries, without a server."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hbt_ray.config import EncoderConfig, TrainConfig, UserError
from hbt_ray.train.runlog import RunLog
from hbt_ray.train.train import train


@pytest.fixture(autouse=True)
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both libraries write to local folders."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # without a server the small package has no other store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlflow")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.teardown()  # it reads its variables once a process


def line(step: int) -> dict[str, Any]:
    names = ("stall_s", "rank_pairs_per_s", "rank_tokens_per_s", "padding", "learning_rate", "grad_norm", "memory_gib")
    return {"step": step, "query_languages": {"de": 8}, "loss": 0.578125 + step, **dict.fromkeys(names, 0.25)}


def run(out: Path, start: int, stop: int) -> None:
    log = RunLog(str(out), start, 8, 2, "north", ("mlflow", "wandb"))
    for step in range(start, stop):
        log.add(line(step))
    log.close()


def tensorboard(out: Path) -> dict[str, dict[int, float]]:
    """Name to step to value."""
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    return {name: {point.step: point.value for point in events.Scalars(name)} for name in events.Tags()["scalars"]}


def test_a_resumed_run_goes_on_in_the_same_mlflow_run_with_tensorboards_points(tmp_path: Path) -> None:
    run(tmp_path / "out", 0, 4)
    run(tmp_path / "out", 4, 8)
    client = mlflow.MlflowClient()
    (found,) = client.search_runs(["0"])
    assert (found.info.run_name, found.info.status) == ("north", "FINISHED")
    expected = tensorboard(tmp_path / "out")
    assert expected["loss"] == {2: 1.078125, 4: 3.078125, 6: 5.078125, 8: 7.078125}
    assert set(found.data.metrics) == set(expected)
    for name, points in expected.items():
        history = client.get_metric_history(found.info.run_id, name)
        assert {point.step: pytest.approx(point.value, rel=1e-6) for point in history} == points


def test_a_resumed_run_goes_on_in_the_same_wandb_run_with_tensorboards_points(tmp_path: Path) -> None:
    run(tmp_path / "out", 0, 4)
    run(tmp_path / "out", 4, 8)
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    assert len(files) == 2 and len({path.name for path in files}) == 1
    written = b"".join(path.read_bytes() for path in files)
    assert b"north" in written
    assert set(tensorboard(tmp_path / "out")) <= {name.decode() for name in re.findall(rb"[a-z_]{4,}", written)}
    assert all(loss in written for loss in (b"1.078125", b"3.078125", b"5.078125", b"7.078125"))


def test_a_run_without_loggers_leaves_nothing_of_them(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path / "out"), 0, 2, 2, "north", ())
    log.add(line(0))
    log.close()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.jsonl", "tensorboard"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("logger", ["mlflow", "wandb"])
def test_a_logger_that_is_not_installed_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    settings = {"data": str(tmp_path), "out": str(tmp_path / "out"), "steps": 1, "loggers": (logger,)}
    config = TrainConfig.model_validate({**settings, "encoder": EncoderConfig(model="tiny")})
    monkeypatch.delitem(sys.modules, logger, raising=False)
    (tmp_path / logger).mkdir()  # the folder that W&B leaves where it runs is no package
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match=rf"{logger} is not installed: pip install 'hbt-ray\[loggers\]'"):
        train(config)
    assert not (tmp_path / "out").exists()
