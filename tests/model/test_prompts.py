"""The prompts of a model are its own, else its family's, else none, which is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from models_made import TEXTS
from sentence_transformers import SentenceTransformer

from hbt_ray.batches.chunk import Slice
from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import EncoderConfig
from hbt_ray.encode.encode import identify
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import ROLES, Encoder
from hbt_ray.model.prompts import find_prompts
from hbt_ray.train.batch import Batch, Collator
from hbt_ray.train.step import Chunks

ABOUT = "config_sentence_transformers.json"
E5 = {"query": "query: ", "passage": "passage: "}


@pytest.mark.parametrize(
    ("name", "prompts", "default", "found", "note"),
    [
        ("model", {"query": "q: ", "document": "d: "}, None, ("q: ", "d: "), ""),
        ("model", {"query": "q: ", "passage": "p: ", "document": "d: "}, None, ("q: ", "d: "), ""),
        ("model", {"query": "q: ", "document": "", "passage": "p: "}, None, ("q: ", "p: "), ""),
        ("model", {"query": "q: ", "document": ""}, None, ("q: ", ""), ""),
        ("model", {"query": "q: "}, None, ("q: ", ""), ""),
        ("model", {"search_query": "f: ", "search_document": "g: "}, None, ("f: ", "g: "), ""),
        ("model", {"Retrieval-query": "f: ", "retrieval.passage": "g: ", "STS": "s: "}, None, ("f: ", "g: "), ""),
        ("model", {"query": "", "passage": "", "document": ""}, None, ("", ""), ""),  # said, as our export says it
        ("model", {"sts": "s: ", "cluster": "c: "}, "sts", ("s: ", "s: "), ""),
        (
            "model",
            {"query": "", "document": "", "sts": "s: "},
            None,
            ("", ""),
            "its prompts are 'sts', and none is",
        ),
        ("model", {"query": "", "document": ""}, None, ("", ""), "names no prompts, and none are used"),
        ("model", {}, None, ("", ""), "names no prompts, and none are used"),
        ("multilingual-e5-small", {"query": "", "document": ""}, None, ("query: ", "passage: "), ""),
        ("multilingual-e5-small", {"query": "mine: ", "document": ""}, None, ("mine: ", ""), ""),
        ("bge-m3", {}, None, ("", ""), ""),
    ],
)
def test_prompts(
    changed_model: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    name: str,
    prompts: dict[str, str],
    default: str | None,
    found: tuple[str, str],
    note: str,
) -> None:
    folder = changed_model(ABOUT, name, prompts=prompts, default_prompt_name=default)
    config = EncoderConfig(model=str(folder), precision="fp32")
    told = find_prompts(config)
    assert tuple(told.prefixes.values()) == found
    assert (note in told.notes[0]) if note else not told.notes
    assert identify(config).prefixes == told.prefixes
    assert " ".join(note.split()) in " ".join(capsys.readouterr().err.split())
    asked = find_prompts(config.model_copy(update={"query_prefix": "a", "passage_prefix": ""}))
    assert asked.prefixes == {"query": "a", "passage": ""} and not asked.notes


def test_a_plain_encoder_gets_ours_and_says_so(changed_model: Callable[..., Path]) -> None:
    folder = changed_model()
    (folder / "modules.json").unlink()
    told = find_prompts(EncoderConfig(model=str(folder)))
    assert told.prefixes == E5 and "'query: ' goes before queries and 'passage: ' before passages" in told.notes[0]
    assert find_prompts(EncoderConfig(model="tiny")) == (E5, ())


@pytest.mark.parametrize("setting", [{"query_prefix": r"Instruct: find\nQuery: "}, {"instructions": {"a": r"b\n"}}])
def test_a_line_break_that_is_none_is_told(setting: dict[str, Any]) -> None:
    note = find_prompts(EncoderConfig.model_validate({"model": "tiny", **setting})).notes[0]
    assert "holds a backslash and an n, which stay as they are" in note
    assert not find_prompts(EncoderConfig(model="tiny", query_prefix="Instruct: find\nQuery: ")).notes


@pytest.mark.parametrize("mode", ["mean", "cls", "weightedmean", "lasttoken", "max"])
def test_a_prompt_that_is_not_pooled(changed_model: Callable[..., Path], tmp_path: Path, mode: str) -> None:
    """Encoded, in chunks of training, and after training in the export, it has sentence-transformers' vectors."""
    prompts = {"query": "find the passage: ", "document": "", "news": "found: "}
    changed_model("1_Pooling/config.json", include_prompt=False, pooling_mode=mode)
    folder = changed_model(ABOUT, prompts=prompts)
    instructions = {"news": "found: "}
    encoder = build_encoder(EncoderConfig(model=str(folder), precision="fp32", instructions=instructions))
    optimizer = torch.optim.SGD([weight for weight in encoder.parameters() if weight.requires_grad], lr=0.1)
    some = TEXTS[:12]
    for _ in range(2):
        theirs = SentenceTransformer(str(folder), device="cpu")
        encoder.eval()
        for role, name in zip(ROLES, ("query", "document"), strict=True):
            wanted = torch.from_numpy(theirs.encode(some, prompt_name=name))
            ours = torch.from_numpy(encode_texts(encoder, some, role, 200))
            assert (ours * wanted).sum(dim=1).min() > 0.99999
        batch = trained_on(encoder, some, ["other"] * 8 + ["news"] * 4)  # two instructions in one chunk
        vectors = Chunks(encoder)(batch.chunks)[0][batch.order]
        names = ["query"] * 8 + ["news"] * 4 + ["document"] * 12
        pairs = zip([*some, *some], names, strict=True)
        wanted = torch.from_numpy(np.stack([theirs.encode(text, prompt_name=name) for text, name in pairs]))
        assert (vectors * wanted).sum(dim=1).min() > 0.99999
        (vectors @ vectors.T).sum().backward()
        optimizer.step()
        folder = tmp_path / "export"
        encoder.export(str(folder))


def trained_on(encoder: Encoder, texts: list[str], sources: list[str]) -> Batch:
    """The batch of a training run whose queries and passages are these texts."""
    tokens = pa.array(encoder.tokenizer(texts, add_special_tokens=False)["input_ids"], pa.list_(pa.int32()))
    columns = {"group": pa.array(range(len(texts)), pa.int64()), "query": tokens, "passage": tokens, "source": sources}
    part = Slice(0, "mono:de", {}, {}, pa.table(columns))
    return Collator(encoder, Wanted(), torch.device("cpu"), 10**6)(part)
