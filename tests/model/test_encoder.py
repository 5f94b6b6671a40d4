"""Whatever the pooling, prefixes and adapters: the exported model gives sentence-transformers the same vectors, and
loads back for more training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from sentence_transformers import SentenceTransformer

from hbt_ray.config import EncoderConfig, LoraConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.model import tokenizer
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder
from hbt_ray.model.shapes import SIZES

TEXTS = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:700:10]]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.learn([f"query: passage: find {text}" for text in TEXTS * 10], 500).save_pretrained(folder)
    return folder


def vectors(encoder: Encoder, role: Any, texts: list[str] = TEXTS) -> torch.Tensor:
    with torch.no_grad():
        return encoder.eval()(**encoder.pad(encoder.tokenize(texts, role)))


@pytest.mark.parametrize("prefixes", [{}, {"query_prefix": "", "passage_prefix": ""}, {"query_prefix": "find "}])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_an_export_gives_the_same_vectors(
    vocabulary: str, tmp_path: Path, pooling: Any, prefixes: dict[str, str]
) -> None:
    config = EncoderConfig(model="tiny", pooling=pooling, precision="fp32", **prefixes)
    encoder = build_encoder(config, vocabulary)
    encoder.export(str(tmp_path))
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    for role, encode in (("query", theirs.encode_query), ("passage", theirs.encode_document)):
        ours = vectors(encoder, role)
        assert (ours * torch.from_numpy(encode(TEXTS))).sum(dim=1).min() > 0.99999
        again = build_encoder(EncoderConfig(model=str(tmp_path), precision="fp32"))
        assert torch.allclose(vectors(again, role), ours, atol=1e-6)
    assert all(p.requires_grad for name, p in again.named_parameters() if "pooler" not in name)


def test_every_random_size_is_named_in_the_settings_and_the_smallest_is_first(vocabulary: str) -> None:
    named = str(EncoderConfig.model_fields["model"].description).partition("size: ")[2]
    assert named.split(", ") == list(SIZES)
    weights = [
        sum(w.numel() for w in build_encoder(EncoderConfig(model=m), vocabulary).parameters()) for m in ("nano", "tiny")
    ]
    assert weights[0] < weights[1] / 2


def test_adapters_are_all_that_is_trained_and_are_merged(vocabulary: str, tmp_path: Path) -> None:
    config = EncoderConfig(model="tiny", precision="fp32", dropout=0.0)
    plain, encoder, other = (build_encoder(config, vocabulary) for _ in range(3))
    for adapted in (encoder, other):
        adapted.adapt(LoraConfig(lora_rank=4), seed=1)
    trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    for name, weight in other.named_parameters():  # every rank makes the same
        assert torch.equal(weight, dict(encoder.named_parameters())[name])
    assert torch.allclose(vectors(encoder, "query"), vectors(plain, "query"))  # adapters begin as nothing

    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    for _ in range(3):
        batch = encoder.train()(**encoder.pad(encoder.tokenize(TEXTS[:8], "query")))
        (batch @ batch.T).sum().backward()
        optimizer.step()
    after = vectors(encoder, "query")
    assert (after * vectors(plain, "query")).sum(dim=1).max() < 0.9999
    assert encoder.save_adapter(str(tmp_path / "adapter"), "tiny") and not plain.save_adapter(str(tmp_path), "tiny")
    again = build_encoder(config, vocabulary)
    peft.PeftModel.from_pretrained(again.model[0].auto_model, str(tmp_path / "adapter"))  # as peft's users do
    assert torch.allclose(vectors(again, "query"), after, atol=1e-6)

    encoder.export(str(tmp_path))
    merged = SentenceTransformer(str(tmp_path), device="cpu")
    assert {name for name, _ in merged.named_parameters()} == {name for name, _ in plain.model.named_parameters()}
    assert torch.allclose(torch.from_numpy(merged.encode_query(TEXTS)), after, atol=1e-5)


def test_instructions_become_prompts(vocabulary: str, tmp_path: Path) -> None:
    config = EncoderConfig(model="tiny", precision="fp32", instructions={"faq": "find ", "news": "query: find "})
    build_encoder(config, vocabulary).export(str(tmp_path))
    prompts = SentenceTransformer(str(tmp_path), device="cpu").prompts
    assert {name: prompts[name] for name in ("query", "faq", "news")} == {
        "query": "query: ",
        "faq": "find ",
        "news": "query: find ",
    }
