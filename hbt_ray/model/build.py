"""Which model the settings name: one of the hub or a folder, or random weights of a known size; made an `Encoder`."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.model import tokenizer as tokenizers
from hbt_ray.model.encoder import ROLES, Encoder
from hbt_ray.model.files import ModelFiles, model_errors
from hbt_ray.model.imports import import_sentence_transformers
from hbt_ray.model.prompts import find_prompts
from hbt_ray.model.shapes import SIZES, TOKEN_LIMIT, Shape
from hbt_ray.model.tokenizer import Template

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
        UserError: the model is not a model, a size is named without a tokenizer, or a limit, the pooling or attention
            cannot be as demanded.
    """
    import_sentence_transformers()
    from transformers.utils.logging import disable_progress_bar

    from hbt_ray.model.dropout import set_dropout
    from hbt_ray.model.limits import find_limits, room

    disable_progress_bar()
    if config.model in SIZES:
        if tokenizer_uri is None:
            raise UserError(f"--model {config.model}: random weights have no tokenizer here; name a folder or hub id")
        learned = tokenizers.load_tokenizer(tokenizer_uri)
        model = _random(SIZES[config.model], learned, config.pooling or "mean", seed)
    else:
        model = _pretrained(config)
    if config.dropout is not None:
        set_dropout(model, config.dropout)
    prompts, limits = find_prompts(config), find_limits(config, room(model[0].auto_model))
    encoder = Encoder(model, prompts.prefixes, limits, config.precision == "bf16")
    encoder.instructions, encoder.notes = config.instructions, prompts.notes
    encoder.family = None if config.model in SIZES else ModelFiles.of(config).family
    _refuse_long_prefixes(encoder)
    if config.attention_dropout is not None:
        _set_attention_dropout(encoder, config)
    _choose_attention(encoder, config)
    return encoder


def _refuse_long_prefixes(encoder: Encoder) -> None:
    for role in ROLES:
        for prefix in {encoder.prefixes[role], *(encoder.instructions.values() if role == "query" else ())}:
            template, limit = Template(encoder.tokenizer, prefix), encoder.limits[role]
            taken = len(template.head) + len(template.tail)
            if taken >= limit:
                raise UserError(
                    f"--max-{role}-tokens: of {limit}, prefix {prefix!r} and special tokens take {taken}: no room is"
                    " left for a text"
                )


def _set_attention_dropout(encoder: Encoder, config: EncoderConfig) -> None:
    from hbt_ray.model.dropout import set_attention_dropout

    texts = encoder.pad(encoder.tokenize(["one", "another text"], "passage"))
    assert config.attention_dropout is not None
    if not set_attention_dropout(encoder.model[0].auto_model, config.attention_dropout, texts):
        raise UserError(
            f"--attention-dropout {config.attention_dropout:g}: {config.model} computes attention in a way of its own,"
            " whose dropout cannot be set apart: say --dropout"
        )


def _choose_attention(encoder: Encoder, config: EncoderConfig) -> None:
    """Set `packing` and `must_pack`."""
    encoder.must_pack = config.attention == "varlen"
    if not encoder.must_pack and (config.attention == "sdpa" or not encoder.bf16 or not torch.cuda.is_available()):
        return
    from hbt_ray.model import packed

    try:
        if encoder.family and not encoder.family.packing:
            raise packed.CannotPack("its attention takes padded texts only")
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


def _random(shape: Shape, tokenizer: PreTrainedTokenizerBase, pooling: str, seed: int) -> SentenceTransformer:
    from sentence_transformers.base.modules.transformer import Transformer
    from transformers import XLMRobertaModel

    from hbt_ray.model.modules import assemble

    settings = shape_config(shape, tokenizer)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings.save_pretrained(folder)
        weights = XLMRobertaModel(settings).state_dict()  # a model saves itself on rank 0 only; every rank needs it
        safetensors.torch.save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        tokenizer.save_pretrained(folder)
        return assemble(Transformer(folder, max_seq_length=TOKEN_LIMIT), pooling)


def _pretrained(config: EncoderConfig) -> SentenceTransformer:
    """The model with its modules, or with the pooling that is asked for in place of its own, and normalisation."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules.normalize import Normalize

    from hbt_ray.model.modules import check_modules, set_pooling
    from hbt_ray.model.weights import check_files, complete

    files = ModelFiles.of(config)
    files.check()
    path = files.path
    with model_errors(config.model), complete(config.model):
        if files.is_folder:
            check_files(config.model, path)
        model = SentenceTransformer(
            path,
            device="cpu",
            model_kwargs={"dtype": torch.float32},
            trust_remote_code=config.trust_remote_code,
            revision=config.revision,
        )
    if not files.modules:
        model[0].modality_config.pop("message", None)  # of a chat template: it is to encode texts as they are
    check_modules(config.model, model)
    pooling = config.pooling or (None if files.modules or files.family is None else files.family.pooling)
    if pooling is not None:
        set_pooling(config.model, model, pooling)
    if not any(isinstance(module, Normalize) for module in model):
        model.append(Normalize())
    return model


def local_models(config: EncoderConfig) -> list[str]:
    """The folder of the model, if the settings name one, which no job may write into."""
    return [config.model] if ModelFiles(config.model).is_folder else []
