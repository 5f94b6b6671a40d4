"""A run over two stores: its card, its dry run, and what becomes of it when a store changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from training_runs import losses, settings

from hbt_ray import storage
from hbt_ray.config import EngineConfig, TrainConfig, UserError
from hbt_ray.data.stores import Stores
from hbt_ray.train.train import train


@pytest.mark.long
def test_a_run_over_two_stores(store: str, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "copy")
    engine = EngineConfig(zero_stage=0)
    base = settings(store, tmp_path / "out", engine=engine, steps=6, checkpoint_every=3)
    data = [f"facts={store}", f"more={tmp_path}/copy:3"]
    config = TrainConfig.model_validate({**base.model_dump(), "data": data})
    told = train(config.model_copy(update={"dry_run": True}))
    rows = sum(stream.rows for stream in Stores(config.data[:1]).streams)
    assert {name: (one["weight"], one["rows"]) for name, one in told["stores"].items()} == {
        "facts": (1.0, rows), "more": (3.0, rows),
    }  # fmt: skip
    made = train(config)
    assert made["plan_hash"] == told["plan_hash"]
    assert len(losses(tmp_path / "out")) == 6
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    share = f"{told['stores']['more']['share']:.1%}"
    assert f"| more | 3 | {rows:,} |" in card and f"| {share} |" in card
    plan = storage.read_manifest(f"{tmp_path}/out", "model")["plan"]["store"]
    assert {name: one["weight"] for name, one in plan.items()} == {"facts": 1, "more": 3}
    moved = shutil.copytree(tmp_path / "copy", tmp_path / "moved")
    again = TrainConfig.model_validate({**base.model_dump(), "data": [data[0], f"more={moved}:3"]})
    assert train(again) == made  # a moved store is the same
    other = TrainConfig.model_validate({**base.model_dump(), "data": [data[0], f"more={moved}:2"]})
    with pytest.raises(UserError, match="belongs to another plan: store is"):
        train(other)
    manifest = json.loads((moved / "manifest.json").read_text())
    pinned = Stores(again.data).data
    changed = {**manifest, "seed": 5}
    del changed["checksum"]
    storage.commit(str(moved), "stream store", changed)
    with pytest.raises(UserError, match="it was appended to, or made anew, after the run had begun"):
        Stores(pinned)
