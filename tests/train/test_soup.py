"""The mean of models, by hand, and what cannot be averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from models_made import TEXTS
from sentence_transformers import SentenceTransformer

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, SoupConfig, UserError
from hbt_ray.model.build import build_encoder
from hbt_ray.train import checkpoint
from hbt_ray.train.soup import soup
from hbt_ray.train.step import Chunks


def weights_of(folder: str) -> dict[str, torch.Tensor]:
    return dict(SentenceTransformer(folder, device="cpu").named_parameters())


def trained(small_model: Path, out: Path, seed: int, **changes: Any) -> str:
    """A model that differs from the small one in its weights, as after training."""
    encoder = build_encoder(EncoderConfig(model=str(small_model), precision="fp32", **changes))
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.01)
    encoder.export(str(out))
    return str(out)


def test_the_mean_of_three_models(small_model: Path, tmp_path: Path) -> None:
    names = [trained(small_model, tmp_path / name, seed) for seed, name in enumerate("abc")]
    one, two, three = map(weights_of, names)
    done = soup(SoupConfig(models=tuple(names), weights=(1, 1, 2), out=f"{tmp_path}/soup"))
    assert done["averaged"] == dict(zip(names, (0.25, 0.25, 0.5), strict=True))
    for name, weight in weights_of(done["model"]).items():
        assert torch.allclose(weight, (one[name] + two[name] + 2 * three[name]) / 4, atol=1e-7), name
    same = soup(SoupConfig(models=(names[0], names[0]), out=f"{tmp_path}/same"))
    vectors = SentenceTransformer(same["model"], device="cpu").encode_query(TEXTS[:5])
    assert (vectors == SentenceTransformer(names[0], device="cpu").encode_query(TEXTS[:5])).all()
    card = (tmp_path / "soup" / "model" / "README.md").read_text()
    assert f"| {names[2]} | 0.5 |" in card and "encode_query" in card


def test_the_mean_of_a_runs_checkpoints(small_model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    encoder = build_encoder(EncoderConfig(model=str(small_model), precision="fp32"))
    encoder.export(str(run / "model"))
    storage.write_json(f"{run}/run.json", {"job": "train", "name": "first", "lora": {"lora_rank": None}})
    with pytest.raises(UserError, match="holds no finished model"):
        soup(SoupConfig(run=str(run), out=f"{tmp_path}/out"))
    storage.commit(str(run), "model", {"steps": 4})
    seen = []
    for step in (2, 4):
        with torch.no_grad():
            for weight in encoder.parameters():
                weight.add_(step)
        tensors = {f"weight/{name}": weight.detach() for name, weight in Chunks(encoder).named_parameters()}
        folder = f"{run}/checkpoints/first/step-{step:09d}"
        storage.write_bytes(f"{folder}/state.safetensors", safetensors.torch.save(tensors))
        if step == 4:
            with pytest.raises(UserError, match="has kept 1 checkpoints: train with a larger --keep-checkpoints"):
                soup(SoupConfig(run=str(run), out=f"{tmp_path}/out"))
        about: dict[str, Any] = {"step": step, "files": ["state.safetensors"], "plan_hash": "", "plan": {}, "model": ""}
        storage.commit(folder, checkpoint.KIND, about)
        seen.append({name: weight.detach().clone() for name, weight in encoder.model.named_parameters()})
    done = soup(SoupConfig(run=str(run), out=f"{tmp_path}/out"))
    assert done["averaged"] == {"step 2": 0.5, "step 4": 0.5}
    for name, mean in weights_of(done["model"]).items():
        assert torch.allclose(mean, (seen[0][name] + seen[1][name]) / 2), name


def test_models_that_cannot_be_averaged(small_model: Path, changed_model: Callable[..., Path], tmp_path: Path) -> None:
    prompts = changed_model("config_sentence_transformers.json", prompts={"query": "ask: ", "document": ""})
    pairs = [
        ((str(small_model), str(prompts)), r"has other prompts than .*'query': 'ask: '"),
        ((str(small_model), f"{tmp_path}/none"), "is not a model"),
    ]
    for number, (models, line) in enumerate(pairs):
        with pytest.raises(UserError, match=line) as error:
            soup(SoupConfig(models=models, out=f"{tmp_path}/{number}"))
        assert "\n" not in str(error.value)
    wide = build_encoder(EncoderConfig(model="tiny", precision="fp32"), str(small_model))
    wide.export(f"{tmp_path}/wide")
    with pytest.raises(UserError, match="wide is of another shape than"):
        soup(SoupConfig(models=(str(small_model), f"{tmp_path}/wide"), out=f"{tmp_path}/out"))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "say either --models or --run"),
        ({"models": ("a", "b"), "run": "/r"}, "say either --models or --run"),
        ({"models": ("a",)}, "--models: two at least"),
        ({"models": ("a", "b"), "weights": (1,)}, "--weights: 1 of them for 2 models"),
        ({"models": ("a", "b"), "weights": (1, 0)}, "--weights: each has to be greater than 0"),
    ],
)
def test_settings_that_say_nothing(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        SoupConfig(out="/o", **settings)
