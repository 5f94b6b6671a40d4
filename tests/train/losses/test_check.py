"""Losses that a store, a strategy or a model cannot have are refused in one line, before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError
from stores import Layout, manifest_only

from hbt_ray.batches.plan import Plan
from hbt_ray.command import parse
from hbt_ray.config import (
    InfoNCEConfig,
    KLConfig,
    MarginMSEConfig,
    PlanConfig,
    TeacherConfig,
    TrainConfig,
    UserError,
)
from hbt_ray.config.losses import Kinds
from hbt_ray.train.losses.check import check_dims, check_losses

PAIRS: Layout = [("pairs", ["de", "en"], 40)]  # of source `made`
WITH_BITEXT: Layout = [*PAIRS, ("bitext", ["de", "en"], 40)]  # of source `other`
WITH_CROSS: Layout = [*PAIRS, ("cross-lingual", ["de", "en"], 40)]  # the same


def check(folder: Path, layout: Layout, losses: Sequence[Kinds], scored: bool = True, strategy: str = "hybrid") -> None:
    store = manifest_only(folder, layout, scored=scored)
    check_losses(losses, store, Plan(store, PlanConfig(strategy=strategy, batch_size=8)))


@pytest.mark.parametrize("loss", [KLConfig(), MarginMSEConfig()])
def test_scores_that_are_missing_in_the_store(tmp_path: Path, loss: Kinds) -> None:
    check(tmp_path / "scored", PAIRS, [loss])
    with pytest.raises(UserError) as error:
        check(tmp_path / "plain", PAIRS, [loss], scored=False)
    assert str(error.value) == (
        f"--loss.kind {loss.kind}: with --strategy hybrid, pairs of 'made' have no scores: prepare them with a column"
        " scores, or say --loss.sources"
    )


def test_one_source_has_scores_and_another_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pairs of 'other' have no scores"):
        check(tmp_path / "a", WITH_BITEXT, [KLConfig()])
    check(tmp_path / "b", WITH_BITEXT, [KLConfig(sources=("made",)), InfoNCEConfig()])
    with pytest.raises(UserError, match="there is no loss for pairs of 'other', which the run draws"):
        check(tmp_path / "c", WITH_BITEXT, [KLConfig(sources=("made",))])


def test_a_loss_for_what_the_strategy_does_not_draw(tmp_path: Path) -> None:
    losses = (InfoNCEConfig(), KLConfig(sources=("other",)))
    check(tmp_path / "a", WITH_CROSS, losses, strategy="hybrid")
    with pytest.raises(UserError) as error:
        check(tmp_path / "b", WITH_CROSS, losses, strategy="x-x")
    assert str(error.value) == "--loss.sources: the run draws nothing of 'other'; it draws made"


def test_more_dimensions_than_the_model_has() -> None:
    check_dims([InfoNCEConfig(matryoshka_dims=(64, 128))], 128)
    with pytest.raises(UserError, match="^--matryoshka-dims 256: the model's vectors have 128 dimensions$"):
        check_dims([InfoNCEConfig(), InfoNCEConfig(matryoshka_dims=(64, 256))], 128)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--loss.kind", "kl"], "--loss.kind kl compares a passage with its hard negatives: say --hard-negatives"),
        (["--loss.kind", "margin-mse"],
         "--loss.kind margin-mse compares a passage with its hard negatives: say --hard-negatives"),
        (["--hardness", "5", "--hardness-of", "hard"],
         "--hardness-of hard weighs hard negatives: say --hard-negatives"),
        (["--directions", "query-query"],
         "--directions need query-passage, which has the positive, and each of them once"),
        (["--directions", "query-passage", "query-query", "--partition", "per-direction"],
         "--partition per-direction: query-query by itself has no positive; say joint"),
        (["--loss.kind", "info-nce"],
         "--loss.kind: there is no info-nce; there are 'infonce', 'kl', 'margin-mse', 'teacher', 'own'"),
        (["--loss.kind", "kl", "--hard-negatives", "1", "--margin", "0.1"],
         "--margin: there is no such setting of --loss.kind kl"),
        (["--temperature", "0"], "--temperature: input should be greater than 0, not '0'"),
        (["--matryoshka-dims", "64", "0"],
         "--matryoshka-dims have to be different numbers of dimensions, 1 or more"),
        (["--matryoshka-dims", "64", "--matryoshka-weights", "1", "2"],
         "--matryoshka-weights: one for each of --matryoshka-dims"),
        (["--learn-temperature", "--last-temperature", "0.1"],
         "say either --learn-temperature or --last-temperature"),
        (["--loss.kind", "own"], "--loss.path: field required"),
        (["--loss.kind", "teacher"], "--collections: field required"),
        (["--loss.kind", "teacher", "--loss.collections", "/c", "--matryoshka-dims", "8"],
         "--matryoshka-dims are for other losses: a teacher's vector is followed in all dimensions"),
        (["--loss.kind", "own", "--loss.path", "losses.Mine"],
         "--loss.path: string should match pattern '^[\\w.]+:\\w+$', not 'losses.Mine'"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(given: list[str], line: str) -> None:
    with pytest.raises(UserError) as error:
        parse(TrainConfig, ["--data", "/a", "--out", "/b", "--model", "tiny", "--steps", "3", *given])
    assert str(error.value) == line


def test_a_run_has_one_teacher() -> None:
    teacher = TeacherConfig(collections=("/c",))
    with pytest.raises(ValidationError, match="a run has one loss of kind teacher"):
        TrainConfig.model_validate({"data": "/a", "out": "/b", "steps": 3, "loss": [teacher, teacher]})


def test_several_losses_are_said_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    arguments = ["--config", str(file), "--data", "/a", "--out", "/b", "--model", "tiny", "--steps", "3"]
    file.write_text(
        "loss:\n- {temperature: 0.05}\n- {kind: kl, weight: 0.5, sources: [faq]}\noptimizer: {hard_negatives: 2}\n"
    )
    assert parse(TrainConfig, arguments).loss == (
        InfoNCEConfig(temperature=0.05),
        KLConfig(weight=0.5, sources=("faq",)),
    )
    with pytest.raises(UserError, match="^--temperature: --config has several of these: say it there$"):
        parse(TrainConfig, [*arguments, "--temperature", "0.1"])
    file.write_text("loss: {kind: margin-mse}\noptimizer: {hard_negatives: 1}\n")
    assert parse(TrainConfig, [*arguments, "--temperature", "0.1"]).loss == (MarginMSEConfig(temperature=0.1),)
    dumped = parse(TrainConfig, arguments).model_dump(mode="json")
    assert TrainConfig.model_validate(dumped).loss == (MarginMSEConfig(),)
