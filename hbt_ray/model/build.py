"""Which model the settings name: one of the hub or a folder, or random weights of a known size; made an `Encoder`."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.model import tokenizer as tokenizers
from hbt_ray.model.encoder import Encoder, Role
from hbt_ray.model.imports import import_sentence_transformers
from hbt_ray.model.shapes import SIZES, TOKEN_LIMIT, Shape

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase, XLMRobertaConfig

log = logging.getLogger(__name__)


def build_encoder(config: EncoderConfig, tokenizer_uri: str | None = None, seed: int = 0) -> Encoder:
    """The encoder that `config` names.

    Args:
        tokenizer_uri: folder of the tokenizer for a random-weight size, whose vocabulary it gets.
        seed: seed of the random weights.

    Raises:
        UserError: the model is not a model, a size is named without a tokenizer, or attention cannot be as demanded.
    """
    import_sentence_transformers()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if config.model in SIZES:
        if tokenizer_uri is None:
            raise UserError(f"--model {config.model}: random weights have no tokenizer here; name a folder or hub id")
        model, own_prompts = (
            _random(SIZES[config.model], tokenizers.load_tokenizer(tokenizer_uri), config.pooling, seed),
            None,
        )
    else:
        model, own_prompts = _pretrained(config)
    if config.dropout is not None:
        set_dropout(model, config.dropout)
    encoder = Encoder(model, prefixes(config, own_prompts), _limits(config, model), config.precision == "bf16")
    encoder.instructions = config.instructions
    _choose_attention(encoder, config)
    return encoder


def _choose_attention(encoder: Encoder, config: EncoderConfig) -> None:
    """Set `packing` and `must_pack`."""
    encoder.must_pack = config.attention == "varlen"
    if not encoder.must_pack and (config.attention == "sdpa" or not encoder.bf16 or not torch.cuda.is_available()):
        return
    from hbt_ray.model import packed

    try:
        if not encoder.bf16:
            raise packed.CannotPack("its kernels want --precision bf16")
        texts = encoder.pad(encoder.tokenize(["one", "another text, somewhat longer"], "passage"))
        encoder.packing = packed.prepare_packing(encoder.model, **texts)
        if encoder.packing.untrainable:
            raise packed.CannotPack(encoder.packing.untrainable)
    except packed.CannotPack as reason:
        if encoder.must_pack:
            raise UserError(f"--attention varlen: {config.model}: {reason}") from None
        log.info("%s: texts are padded%s: %s", config.model, " in training" if encoder.packing else "", reason)


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the probability of every dropout module of the model."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def shape_config(shape: Shape, tokenizer: PreTrainedTokenizerBase) -> XLMRobertaConfig:
    """The settings of an XLM-R-shaped encoder with the vocabulary of `tokenizer`."""
    from transformers import XLMRobertaConfig

    return XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=TOKEN_LIMIT + 2,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        architectures=["XLMRobertaModel"],
    )


def _random(shape: Shape, tokenizer: PreTrainedTokenizerBase, pooling: str | None, seed: int) -> SentenceTransformer:
    from sentence_transformers.base.modules.transformer import Transformer
    from transformers import XLMRobertaModel

    settings = shape_config(shape, tokenizer)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings.save_pretrained(folder)
        weights = XLMRobertaModel(settings).state_dict()  # a model saves itself on rank 0 only; every rank needs it
        safetensors.torch.save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        tokenizer.save_pretrained(folder)
        return _assemble(Transformer(folder, max_seq_length=TOKEN_LIMIT), pooling or "mean")


def _pretrained(config: EncoderConfig) -> tuple[SentenceTransformer, dict[str, str] | None]:
    """The model, and its own prompts when it comes in sentence-transformers' layout (else None)."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.normalize import Normalize
    from sentence_transformers.util import is_sentence_transformer_model

    from hbt_ray.model.weights import complete

    try:
        check_is_model(config)
        path = storage.local_copy(config.model) if "://" in config.model else config.model
        own = is_sentence_transformer_model(path)
        with complete(config.model):
            model = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": torch.float32})
    except UserError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(f"--model {config.model} is not a model: {' '.join(str(error).split())[:300]}") from None
    if model.tokenizer.pad_token_id is None:
        raise UserError(f"--model {config.model}: its tokenizer has no padding token")
    if config.pooling is not None:
        model = _assemble(model[0], config.pooling)
    elif not any(isinstance(module, Normalize) for module in model):
        model.append(Normalize())
    return model, dict(model.prompts) if own else None


def _assemble(transformer: nn.Module, pooling: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.normalize import Normalize
    from sentence_transformers.sentence_transformer.modules.pooling import Pooling

    width = transformer.get_embedding_dimension()  # type: ignore[operator]
    mode = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[pooling]
    return SentenceTransformer(modules=[transformer, Pooling(width, mode), Normalize()], device="cpu")


def check_is_model(config: EncoderConfig) -> None:
    """Look whether a folder can be a model, without loading anything.

    Raises:
        UserError: it has no config.json.
    """
    if local_models(config) and not storage.exists(storage.join(config.model, "config.json")):
        raise UserError(f"--model {config.model} is not a model: it has no config.json")


def local_models(config: EncoderConfig) -> list[str]:
    """The folder of the model, if the settings name one, which no job may write into."""
    return [config.model] if "://" in config.model or os.path.isdir(config.model) else []


def model_prefixes(config: EncoderConfig) -> dict[Role, str]:
    """The text put before each role's texts, by role, as `build_encoder` finds it; weights are not loaded.

    Raises:
        UserError: the model is not a model.
    """
    if config.model in SIZES or None not in (config.query_prefix, config.passage_prefix):
        return prefixes(config, None)
    import_sentence_transformers()
    from sentence_transformers.util import is_sentence_transformer_model, load_file_path

    try:
        check_is_model(config)
        path = storage.local_copy(config.model) if "://" in config.model else config.model
        if not is_sentence_transformer_model(path):
            return prefixes(config, None)
        settings = load_file_path(path, "config_sentence_transformers.json")
        return prefixes(config, (storage.read_json(settings).get("prompts") or {}) if settings else {})
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--model {config.model} is not a model: {' '.join(str(error).split())[:300]}") from None


def prefixes(config: EncoderConfig, own: dict[str, str] | None) -> dict[Role, str]:
    """The text put before each role's texts, by role, for a model whose own prompts are `own` (None: it names none)."""
    query = own.get("query", "") if own is not None else "query: "
    passage = own.get("passage", own.get("document", "")) if own is not None else "passage: "
    return {
        "query": query if config.query_prefix is None else config.query_prefix,
        "passage": passage if config.passage_prefix is None else config.passage_prefix,
    }


def _limits(config: EncoderConfig, model: SentenceTransformer) -> dict[Role, int]:
    own = min(model.max_seq_length or TOKEN_LIMIT, TOKEN_LIMIT)
    return {"query": min(config.max_query_tokens or own, own), "passage": min(config.max_passage_tokens or own, own)}
