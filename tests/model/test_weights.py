"""A checkpoint has the weights that its config says, or one line says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from models_made import TEXTS, change
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model.build import build_encoder

Weights = dict[str, torch.Tensor]
LAYER, DEEPER = (f"encoder.layer.{number}.output.dense.bias" for number in (0, 7))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def saved(folder: Path, weights: Weights) -> EncoderConfig:
    """The model of the folder, with other weights in its checkpoint."""
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return EncoderConfig(model=str(folder), precision="fp32")


@pytest.fixture
def weights(small_model: Path) -> Weights:
    return safetensors.torch.load_file(small_model / "model.safetensors")


DAMAGE: list[tuple[Callable[[Weights], Weights], str]] = [
    (lambda w: {f"encoder_q.{key}": w[key] for key in w}, "lacks 23 of the encoder's 23 .*, such as encoder_q"),
    (lambda w: {f"module.{key}": w[key] for key in w}, r"lacks 23 .*; it has others, such as module\."),
    (lambda w: {f"model.model.{key}": w[key] for key in w}, r"lacks 23 .*; it has others, such as model\.model"),
    (lambda w: {key: w[key] for key in w if "layer.0.output" not in key}, r"lacks 4 of .* encoder\.layer\.0\.output"),
    (lambda w: {**w, DEEPER: w[LAYER].clone()}, r"has 1 weights for which its config has no place, .*layer\.7"),
    (
        lambda w: {**w, LAYER: torch.zeros(63)},
        r"1 weights .* other shapes .*layer\.0\.output\.dense\.bias: \[63\], and not",
    ),
    (lambda w: {key: torch.empty(0) for key in w}, "model.safetensors has no numbers for 23 of 23 weights.*ZeRO-3"),
    (lambda w: {**w, LAYER: torch.empty(0)}, "has no numbers for 1 of 23 weights, such as encoder.*ZeRO-3"),
]


@pytest.mark.parametrize(("damage", "line"), DAMAGE)
def test_weights_that_are_not_the_encoders(
    changed_model: Callable[..., Path], weights: Weights, damage: Callable[[Weights], Weights], line: str
) -> None:
    with pytest.raises(UserError, match=f"^--model .*{line}") as error:
        build_encoder(saved(changed_model(), damage(weights)))
    assert "\n" not in str(error.value)


def test_heads_behind_the_encoder_and_its_pooling_layer_are_not_used(
    changed_model: Callable[..., Path], small_model: Path, weights: Weights
) -> None:
    headed = {f"roberta.{name}": value for name, value in weights.items() if "pooler" not in name}
    again = build_encoder(saved(changed_model(), headed | {"lm_head.bias": torch.zeros(500)})).eval()
    vectors = encode_texts(
        build_encoder(EncoderConfig(model=str(small_model), precision="fp32")).eval(), TEXTS, "query", 300
    )
    assert (encode_texts(again, TEXTS, "query", 300) == vectors).all()


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "pytorch_model.bin"])
def test_files_that_are_not_there(changed_model: Callable[..., Path], file: str) -> None:
    folder = changed_model()
    (folder / "model.safetensors").unlink()
    for content, line in (
        (b"version https://git-lfs.github.com/spec/v1\noid 1", "is a pointer of git-lfs"),
        (b"", "is empty"),
    ):
        (folder / file).write_bytes(content)
        with pytest.raises(UserError, match=f"{file} {line}"):
            build_encoder(EncoderConfig(model=str(folder)))
    (folder / file).write_bytes(b"neither weights nor JSON")
    with pytest.raises(UserError, match="^--model .* is not a model: .*") as error:
        build_encoder(EncoderConfig(model=str(folder)))
    assert "\n" not in str(error.value)


def test_a_config_of_another_width(changed_model: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"22 weights .* other shapes than its config says, such as embeddings"):
        build_encoder(EncoderConfig(model=str(changed_model(hidden_size=32))))


def test_modules_behind_the_transformer_have_theirs(small_model: Path, tmp_path: Path) -> None:
    theirs = SentenceTransformer(str(small_model), device="cpu")
    SentenceTransformer(modules=[theirs[0], theirs[1], Dense(64, 24)], device="cpu").save(str(tmp_path))
    change(tmp_path / "2_Dense" / "config.json", out_features=30)
    with pytest.raises(UserError, match=r"is not a model: .*size mismatch for linear.weight") as error:
        build_encoder(EncoderConfig(model=str(tmp_path)))
    assert "\n" not in str(error.value)
    safetensors.torch.save_file({"other": torch.zeros(3)}, tmp_path / "2_Dense" / "model.safetensors")
    with pytest.raises(UserError, match=r"is not a model: .*Missing key"):
        build_encoder(EncoderConfig(model=str(tmp_path)))
