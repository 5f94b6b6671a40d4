"""Every family's architecture with random weights: our vectors are sentence-transformers', padded and packed, short and
long, and what the table says of it is so."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from transformers import PretrainedConfig, PreTrainedModel

from hbt_ray.config import EncoderConfig, LoraConfig, OptimizerConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model import packed, tokenizer
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import ROLES
from hbt_ray.model.families import families, family_of
from hbt_ray.model.limits import model_limits
from hbt_ray.train.engine import adamw

POSITIONS = 2100  # more than the longest text
SHAPE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
GROUPED = {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": POSITIONS}
ROBERTA = {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


class Case(NamedTuple):
    """A model of a family: its architecture, its changes of `SHAPE`, and what is in sentence-transformers' layout.

    Attributes:
        behind: its pooling as sentence-transformers calls it; "": it is a plain transformers model.
        pooling, query, passage: what is to be found.
    """

    architecture: str
    changes: dict[str, Any]
    behind: str
    pooling: str
    query: str
    passage: str


# a window far shorter than the texts, in two layers of three
MODERN = {"max_position_embeddings": POSITIONS, "local_attention": 24, "global_attn_every_n_layers": 3}
CASES = {
    "xlm-roberta-base": Case("XLMRoberta", ROBERTA, "", "mean", "query: ", "passage: "),
    "multilingual-e5-base": Case("XLMRoberta", ROBERTA, "mean", "mean", "query: ", "passage: "),
    "multilingual-e5-small": Case("Bert", {"max_position_embeddings": POSITIONS}, "", "mean", "query: ", "passage: "),
    "multilingual-e5-large-instruct": Case("XLMRoberta", ROBERTA, "mean", "mean", f"{QUERY} ", ""),
    "bge-m3": Case("XLMRoberta", ROBERTA, "", "cls", "", ""),
    "LaBSE": Case("Bert", {"max_position_embeddings": POSITIONS}, "cls", "cls", "", ""),
    "gte-multilingual-base": Case("Gte", {"max_position_embeddings": POSITIONS}, "", "cls", "", ""),
    "mmBERT-base": Case("ModernBert", MODERN, "", "mean", "query: ", "passage: "),
    "granite-embedding-311m-multilingual-r2": Case("ModernBert", MODERN, "cls", "cls", "", ""),
    "EuroBERT-210m": Case("EuroBert", {"max_position_embeddings": POSITIONS}, "", "mean", "query: ", "passage: "),
    "Qwen3-Embedding-0.6B": Case("Qwen3", GROUPED, "lasttoken", "lasttoken", QUERY, ""),
    "embeddinggemma-300m": Case(
        "Gemma3Text",
        {**GROUPED, "use_bidirectional_attention": True, "sliding_window": 24, "_sliding_window_pattern": 3},
        "mean",
        "mean",
        "task: search result | query: ",
        "title: none | text: ",
    ),
}
# one of each kind of attention is enough to notice; `make test-long` has them all
OFTEN = ("multilingual-e5-base", "mmBERT-base", "Qwen3-Embedding-0.6B")
EACH = [pytest.param(name, marks=() if name in OFTEN else pytest.mark.long) for name in CASES]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> transformers.PreTrainedTokenizerFast:
    some = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:300:10]]
    return tokenizer.learn([f"query: passage: {text}" for text in some * 40], 400)


def texts(words: transformers.PreTrainedTokenizerFast) -> list[str]:
    """Of about 5 to 2,000 tokens."""
    rows = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:3000:7]]
    lengths = [len(ids) for ids in words(rows)["input_ids"]]
    found = [rows[0][:9], *rows[1:4]]
    for wanted in (100, 500, 1980):
        found.append(" ".join(rows[: int(np.searchsorted(np.cumsum(lengths), wanted))]))
    return found


@pytest.fixture(scope="module")
def folders(words: transformers.PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The models."""
    root = tmp_path_factory.mktemp("families")
    common = {**SHAPE, "vocab_size": len(words), "pad_token_id": words.pad_token_id}
    common |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    words.model_max_length = POSITIONS
    torch.manual_seed(0)
    for name, case in CASES.items():
        settings: PretrainedConfig = getattr(transformers, f"{case.architecture}Config")(**{**common, **case.changes})
        kind = "Gemma3TextModel" if case.architecture == "Gemma3Text" else f"{case.architecture}Model"
        model: PreTrainedModel = getattr(transformers, kind)(settings)
        for weight in model.parameters():  # as drawn, most of these give all texts nearly one vector
            if weight.ndim > 1:
                weight.data.normal_(0, 0.15)
        model.save_pretrained(root / name)
        words.save_pretrained(root / name)
        if case.behind:
            modules: list[torch.nn.Module] = [Transformer(str(root / name), max_seq_length=POSITIONS)]
            modules.append(Pooling(64, case.behind))  # type: ignore[arg-type]
            if case.behind == "mean":
                modules += [Dense(64, 96, bias=False), Dense(96, 32, bias=False, activation_function=None)]
            SentenceTransformer(modules=modules, device="cpu").save(str(root / name))
    return {name: str(root / name) for name in CASES}


@pytest.mark.parametrize("name", EACH)
def test_vectors_are_those_of_sentence_transformers(
    folders: dict[str, str], words: transformers.PreTrainedTokenizerFast, name: str
) -> None:
    case = CASES[name]
    config = EncoderConfig(model=folders[name], precision="fp32", max_query_tokens=2048, max_passage_tokens=2048)
    encoder = build_encoder(config).eval()
    assert encoder.limits == model_limits(config) == dict.fromkeys(ROLES, 2048)
    assert encoder.prefixes == {"query": case.query, "passage": case.passage}
    assert next(module for module in encoder.model if isinstance(module, Pooling)).pooling_mode == case.pooling
    theirs = SentenceTransformer(folders[name], device="cpu")
    if not case.behind:
        theirs[1].pooling_mode = case.pooling
    theirs.max_seq_length = 2048
    some = texts(words)
    for role in ROLES:
        wanted = torch.from_numpy(theirs.encode(some, prompt=encoder.prefixes[role], batch_size=4))
        wanted = torch.nn.functional.normalize(wanted, dim=-1)
        padded = torch.from_numpy(encode_texts(encoder, some, role, 8192))
        assert (padded * wanted).sum(dim=1).min() > 0.99999
        assert (wanted @ wanted.T)[0, 4:].max() < 0.999  # else all texts are the same to it
    if encoder.family is None or encoder.family.packing:
        rows = encoder.tokenize(some, "passage")
        encoder.packing = packed.prepare_packing(encoder.model, **encoder.pad(rows))._replace(device="cpu")
        with torch.no_grad():
            assert (encoder(**encoder.pad(rows)) * wanted).sum(dim=1).min() > 0.99999


@pytest.mark.parametrize("name", CASES)
def test_adapters_and_weight_decay_go_where_they_belong(folders: dict[str, str], name: str) -> None:
    encoder = build_encoder(EncoderConfig(model=folders[name], precision="fp32"))
    decays = {id(weight) for weight in adamw(encoder, OptimizerConfig()).param_groups[0]["params"]}
    ours = {key for key, weight in encoder.named_parameters() if id(weight) in decays}
    theirs = set(transformers.Trainer.get_decay_parameter_names(None, encoder))  # type: ignore[arg-type]
    assert ours == {key for key in theirs if encoder.get_parameter(key).requires_grad}

    linear = {key for key, module in encoder.model[0].auto_model.named_modules() if isinstance(module, torch.nn.Linear)}
    encoder.adapt(LoraConfig(lora_rank=2), seed=0)
    adapted = {key for key, module in encoder.model[0].auto_model.named_modules() if hasattr(module, "lora_A")}
    assert adapted == linear


def test_a_family_is_known_by_the_end_of_a_name() -> None:
    assert family_of("intfloat/multilingual-e5-base") == family_of("s3://models/multilingual-e5-base/")
    assert family_of("/data/e5-runs/2026/model") is None
    instruct = family_of("intfloat/multilingual-e5-large-instruct")
    assert instruct is not None and instruct.query.startswith("Instruct: ")
    assert all(family_of(case) for case in CASES)
    assert len(families()) >= 12
