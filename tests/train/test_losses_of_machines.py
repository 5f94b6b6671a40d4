"""Workers, nodes, drivers and memory that end while a run trains, on two nodes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import clusters
import pytest
import yaml
from training_runs import losses, same_run, settings

from hbt_ray.config import (
    PlanConfig,
    TrainConfig,
)

pytestmark = pytest.mark.long


def on_two_nodes(config: TrainConfig, event: str) -> subprocess.CompletedProcess[str]:
    file = Path(f"{config.out}.yaml")
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    script = Path(__file__).with_name("two_nodes.py")
    return clusters.run(script, str(file), event, timeout=400, RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="20")


@pytest.mark.parametrize(("event", "counts"), [("worker", (2, None)), ("node", (1, 2))])
def test_what_is_lost_on_two_nodes_is_made_good(
    store: str, finished: Path, tmp_path: Path, event: str, counts: tuple[int, int | None]
) -> None:
    """An elastic run goes on with fewer workers than it had when a node is lost."""
    out = tmp_path / "run"
    done = on_two_nodes(settings(store, out, workers=counts[0], max_workers=counts[1]), event)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "lost").exists()
    same_run(out, finished)


def test_a_node_lost_after_a_notice(store: str, tmp_path: Path) -> None:
    """A checkpoint comes out of turn, and an elastic run goes on from it with the worker that is left."""
    out = tmp_path / "run"
    done = on_two_nodes(
        settings(store, out, workers=1, max_workers=2, steps=1000, checkpoint_every=1000, report_every=20), "notice"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 0 < int((out / "lost").read_text().removeprefix("step-")) < 1000
    assert len(losses(out)) == 1000


def test_memory_that_ends_while_training(store: str, tmp_path: Path) -> None:
    """The line comes from the workers, and no restart repeats what cannot end well."""
    out = tmp_path / "run"
    done = on_two_nodes(settings(store, out, workers=2, batches=PlanConfig(batch_size=16384)), "memory")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "refused").read_text().startswith("step 0: out of memory with 16384 pairs among 2 workers: say --gr")
    assert not (out / "checkpoints").exists()


def test_a_driver_lost_while_a_checkpoint_is_written(store: str, finished: Path, tmp_path: Path) -> None:
    """With SIGKILL, and all it has started; the job is submitted again for fewer workers."""
    out = tmp_path / "run"
    config = settings(store, out, workers=2, checkpoint_every=1)
    assert on_two_nodes(config, "driver").returncode == -signal.SIGKILL
    half = out / "checkpoints" / (out / "checkpoints" / "half").read_text()
    assert not (half / "manifest.json").exists()
    assert not (out / "manifest.json").exists()
    done = on_two_nodes(config.model_copy(update={"workers": 1}), "nothing")
    assert done.returncode == 0, done.stderr[-3000:]
    same_run(out, finished)
