"""Runs that skip a batch, and finished runs that go on with more steps."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from training_runs import settings

from hbt_ray import storage
from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.config import InfoNCEConfig, OptimizerConfig, OwnLossConfig, UserError
from hbt_ray.data.stores import Stores
from hbt_ray.train import runlog
from hbt_ray.train.schedule import learning_rate
from hbt_ray.train.train import train


@pytest.mark.long
def test_a_bad_batch_is_kept_and_skipped_and_a_finished_run_goes_on(store: str, tmp_path: Path) -> None:
    config = settings(store, tmp_path / "run", steps=6, checkpoint_every=2, optimizer=OptimizerConfig(warmup=0.0))
    opened = Stores(config.data)
    (value,) = chunk.read_chunk(opened, Plan(opened, config.batches), 0, 12, 1)
    groups = [set(part.pairs["group"].to_pylist()) for part in chunk.slices(value, 0, 1)]
    (bad, *_) = groups[3] - set().union(*groups[:3], *groups[4:])
    poison = OwnLossConfig(path="own_losses:Poisoned", options={"group": bad}, weight=0.5)
    config = config.model_copy(update={"loss": (InfoNCEConfig(), poison)})
    with pytest.raises(UserError, match=r"^step 3: the loss is nan"):
        train(config)
    config = config.model_copy(update={"max_bad_batches": 1})
    assert train(config)["steps"] == 6  # from the checkpoint of step 2
    (kept,) = (tmp_path / "run" / "not-finite").iterdir()
    assert kept.name == "step-000000003"
    assert bad in pq.read_table(kept / "rank-00000.parquet")["group"].to_pylist()
    before = runlog.read_metrics(config.out)
    assert [math.isfinite(line["loss"]) for line in before] == [True, True, True, False, True, True]

    longer = config.model_copy(update={"steps": 12})
    with pytest.raises(UserError, match="already holds another run: batches is"):
        train(longer.model_copy(update={"batches": config.batches.model_copy(update={"alpha": 0.1})}))
    assert storage.committed(config.out)
    assert train(longer)["steps"] == 12
    lines = runlog.read_metrics(config.out)
    assert str(lines[:6]) == str(before)  # as text, since nan is not nan
    rates = [learning_rate(step, 12, config.optimizer) for step in range(6, 12)]
    assert [line["learning_rate"] for line in lines[6:]] == rates
    with pytest.raises(UserError, match="already holds another run: steps is 12 there and 6 here"):
        train(config)
