"""The limit asked for is used or refused; the model's own is what it has positions for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from models_made import TEXTS, change
from sentence_transformers import SentenceTransformer

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model.build import build_encoder
from hbt_ray.model.limits import model_limits

LONG = " ".join(TEXTS * 10)


def with_positions(folder: Path, positions: int) -> EncoderConfig:
    """The model with a table of so many positions."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    table = weights["embeddings.position_embeddings.weight"]
    weights["embeddings.position_embeddings.weight"] = torch.randn(positions, table.shape[1]) * 0.02
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder / "config.json", max_position_embeddings=positions)
    return EncoderConfig(model=str(folder), precision="fp32")


@pytest.mark.parametrize(
    ("positions", "tokenizer", "plain", "own", "most"),
    [
        (512, None, True, 510, 510),  # RoBERTa's positions begin behind its padding's
        (66, None, True, 64, 64),
        (66, 512, False, 64, 64),
        (8194, 8192, True, 512, 8192),
        (8194, 8192, False, 8192, 8192),
        (8194, 300, True, 300, 8192),
        (8194, None, False, 8192, 8192),
    ],
)
def test_limits(
    changed_model: Callable[..., Path], positions: int, tokenizer: int | None, plain: bool, own: int, most: int
) -> None:
    folder = changed_model("tokenizer_config.json", model_max_length=10**30 if tokenizer is None else tokenizer)
    if plain:
        (folder / "modules.json").unlink()
    config = with_positions(folder, positions)
    encoder = build_encoder(config).eval()
    assert encoder.limits == model_limits(config) == {"query": own, "passage": own}
    for asked in (30, most):
        config = config.model_copy(update={"max_passage_tokens": asked})
        encoder = build_encoder(config).eval()
        assert encoder.limits == model_limits(config) == {"query": own, "passage": asked}
        assert len(encoder.tokenize([LONG], "passage")[0]) == min(asked, len(encoder.tokenizer(LONG)["input_ids"]))
        theirs = SentenceTransformer(str(folder), device="cpu")
        theirs.max_seq_length = asked
        wanted = torch.from_numpy(theirs.encode([LONG], prompt=encoder.prefixes["passage"], normalize_embeddings=True))
        assert (torch.from_numpy(encode_texts(encoder, [LONG], "passage", 512)) * wanted).sum() > 0.99999
    for made in (build_encoder, model_limits):
        with pytest.raises(UserError, match=rf"^--max-query-tokens {most + 1}: .* has room for {most} tokens$"):
            made(config.model_copy(update={"max_query_tokens": most + 1}))


def test_what_the_settings_of_sentence_transformers_say_counts(changed_model: Callable[..., Path]) -> None:
    folder = changed_model("sentence_bert_config.json", max_seq_length=77)
    config = EncoderConfig(model=str(folder), precision="fp32")
    assert build_encoder(config).limits == model_limits(config) == {"query": 77, "passage": 77}
    assert SentenceTransformer(str(folder), device="cpu").max_seq_length == 77


def test_random_weights_have_room_for_512(changed_model: Callable[..., Path]) -> None:
    assert model_limits(EncoderConfig(model="tiny", max_query_tokens=9)) == {"query": 9, "passage": 512}
    with pytest.raises(UserError, match="--max-passage-tokens 513: tiny has room for 512 tokens"):
        model_limits(EncoderConfig(model="tiny", max_passage_tokens=513))


def test_a_prefix_must_leave_room_for_a_text(changed_model: Callable[..., Path]) -> None:
    config = EncoderConfig(model=str(changed_model()), max_query_tokens=5, query_prefix="query: query: query: find ")
    with pytest.raises(UserError, match="--max-query-tokens: of 5, prefix 'query: .*: no room is left for a text"):
        build_encoder(config)
