"""Runs that skip a batch, and finished runs that go on with more steps, as jobs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import clusters
import pyarrow.parquet as pq
import pytest
import yaml
from training_runs import settings

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.config import InfoNCEConfig, OptimizerConfig, OwnLossConfig, TrainConfig
from hbt_ray.data.stores import Stores
from hbt_ray.train import runlog
from hbt_ray.train.schedule import learning_rate

JOB = Path(__file__).parents[2] / "jobs" / "train.py"


def trained(config: TrainConfig, **changes: Any) -> dict[str, Any]:
    """What the job's last line says; a loss of the user's is found as users have it found, by PYTHONPATH."""
    file = Path(f"{config.out}.yaml")
    file.write_text(yaml.safe_dump(config.model_copy(update=changes).model_dump(mode="json")))
    path = f"{JOB.parents[1]}:{Path(__file__).parent}"
    done = clusters.run(JOB, "--config", str(file), timeout=200, PYTHONPATH=path)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode == 2) == (found["status"] == "error"), done.stderr[-3000:]
    return found


@pytest.mark.long
def test_a_bad_batch_is_kept_and_skipped_and_a_finished_run_goes_on(store: str, tmp_path: Path) -> None:
    config = settings(store, tmp_path / "run", steps=6, checkpoint_every=2, optimizer=OptimizerConfig(warmup=0.0))
    opened = Stores(config.data)
    (value,) = chunk.read_chunk(opened, Plan(opened, config.batches), 0, 12, 1)
    groups = [set(part.pairs["group"].to_pylist()) for part in chunk.slices(value, 0, 1)]
    (bad, *_) = groups[3] - set().union(*groups[:3], *groups[4:])
    poison = OwnLossConfig(path="poisoned:Poisoned", options={"group": bad}, weight=0.5)
    config = config.model_copy(update={"loss": (InfoNCEConfig(), poison)})
    assert trained(config)["error"].startswith("step 3: the loss is nan")
    config = config.model_copy(update={"max_bad_batches": 1})
    assert trained(config)["steps"] == 6  # from the checkpoint of step 2
    (kept,) = (tmp_path / "run" / "not-finite").iterdir()
    assert kept.name == "step-000000003"
    assert bad in pq.read_table(kept / "rank-00000.parquet")["group"].to_pylist()
    before = runlog.read_metrics(config.out)
    assert [math.isfinite(line["loss"]) for line in before] == [True, True, True, False, True, True]

    other = config.batches.model_copy(update={"alpha": 0.1})
    assert (
        "belongs to another plan: alpha is 0.5 there and 0.1 here" in trained(config, steps=12, batches=other)["error"]
    )
    assert (tmp_path / "run" / "manifest.json").exists()
    assert trained(config, steps=12)["steps"] == 12
    lines = runlog.read_metrics(config.out)
    assert str(lines[:6]) == str(before)  # as text, since nan is not nan
    rates = [learning_rate(step, 12, config.optimizer) for step in range(6, 12)]
    assert [line["learning_rate"] for line in lines[6:]] == rates
    assert "already holds another run: steps is 12 there and 6 here" in trained(config)["error"]
