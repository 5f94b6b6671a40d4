"""The encoder: any transformers encoder in sentence-transformers' layout, or a random-weight XLM-R shape."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from sentence_transformers.util import is_sentence_transformer_model
from torch import nn
from transformers import PreTrainedTokenizerBase, XLMRobertaConfig, XLMRobertaModel
from transformers.utils.logging import disable_progress_bar

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, LoraConfig, UserError
from hbt_ray.data import tokenizer as tokenizers
from hbt_ray.data.tokenizer import Frame
from hbt_ray.train import packed

Role = Literal["query", "passage"]
ROLES: tuple[Role, ...] = ("query", "passage")
disable_progress_bar()
log = logging.getLogger(__name__)

TOKEN_LIMIT = 512  # longest text when neither the user nor the model names a limit


class Shape(NamedTuple):
    """Of an XLM-R-shaped encoder."""

    layers: int
    width: int
    heads: int
    feed_forward: int


SIZES = {
    "tiny": Shape(2, 128, 2, 512),
    "mini": Shape(4, 256, 4, 1024),
    "small": Shape(12, 384, 12, 1536),  # multilingual-e5-small
    "base": Shape(12, 768, 12, 3072),  # XLM-R base
    "large": Shape(24, 1024, 16, 4096),  # XLM-R large
}


class Encoder(nn.Module):
    """Texts or token ids to unit vectors.

    Attributes:
        model: the sentence-transformers model: transformer, pooling, whatever the model adds, normalisation.
        prefixes: role to the text put before every query or passage.
        instructions: source to the text put before every query of that source, instead of the role's.
        limits: role to the longest text, special tokens and prefix included [tokens].
        packing: how texts are encoded without padding, where that works; None: they are padded.
        must_pack: texts that would be padded are an error.
    """

    def __init__(self, model: SentenceTransformer, prefixes: dict[Role, str], limits: dict[Role, int], bf16: bool):
        super().__init__()
        self.model = model
        self.prefixes = prefixes
        self.limits = limits
        self.bf16 = bf16
        self.instructions: dict[str, str] = {}
        self.packing: packed.Packing | None = None
        self.must_pack = False
        self._adapted: list[Any] = []  # what can merge the adapters; in a list, since its weights are the model's
        for name, parameter in model.named_parameters():
            if not is_trained(name):
                parameter.requires_grad_(False)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.model.tokenizer  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """Length of a vector."""
        width = self.model.get_embedding_dimension()
        assert width is not None
        return int(width)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors, fp32 [rows, width], of padded token ids, int64 [rows, tokens]; the mask may stay on the CPU.

        Raises:
            UserError: the settings demand packed texts, which this device cannot do.
        """
        device = input_ids.device
        if self.packing is not None and self.packing.works(device, self.training):
            features = self.packing(input_ids, attention_mask)
        elif self.must_pack:
            raise UserError(f"--attention varlen: needs a CUDA device, Ampere or newer, not {device}")
        else:
            features = {"input_ids": input_ids, "attention_mask": attention_mask.to(device, non_blocking=True)}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
            features = self.model(features)
        vectors = features["sentence_embedding"]
        return nn.functional.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1)

    def adapt(self, lora: LoraConfig, seed: int) -> None:
        """Freeze all weights and put adapters into all linear layers, if `lora` says so; `seed` is of their weights.

        Raises:
            UserError: peft is not installed.
        """
        if lora.lora_rank is None:
            return
        self.model.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._adapted.append(with_adapters(self.model[0].auto_model, lora))

    def prepare(self, activation_checkpointing: bool, compiled: bool) -> None:
        """Set up the transformer for training: keep the inputs of layers only, and compile it for any shape."""
        transformer = self.model[0].auto_model
        if activation_checkpointing:
            transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if compiled:
            transformer.forward = torch.compile(transformer.forward, dynamic=True)  # which is what is called

    def flops(self, tokens: int, squares: int) -> float:
        """What a forward and a backward pass need of texts with `tokens` in all, whose lengths squared sum to `squares`
        [FLOP]: 6 a weight and token (4 if it is frozen), and 12 a layer, width and pair of tokens for attention
        (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). Embedding tables are looked up, not multiplied."""
        config = self.model[0].auto_model.config
        of_token = sum(
            getattr(weight, "ds_numel", weight.numel()) * (6 if weight.requires_grad else 4)
            for module in self.modules()
            if isinstance(module, nn.Linear)
            for weight in module.parameters(recurse=False)
        )
        return float(of_token) * tokens + 12.0 * config.num_hidden_layers * config.hidden_size * squares

    def frame(self, role: Role) -> Frame:
        """What stored tokens get around them in this role."""
        return Frame(self.tokenizer, self.prefixes[role])

    def frames(self) -> dict[str, Frame]:
        """What stored queries of a source get around them instead, for each source with an instruction."""
        return {source: Frame(self.tokenizer, prefix) for source, prefix in self.instructions.items()}

    def tokenize(self, texts: Sequence[str], role: Role) -> list[np.ndarray]:
        """Token ids of each text as the model wants them: prefix, special tokens, cut to the role's limit."""
        prefix = self.prefixes[role]
        encoded = self.tokenizer(
            [prefix + text for text in texts],
            truncation=True,
            max_length=self.limits[role],
            return_attention_mask=False,
        )
        return [np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"]]

    def pad(self, rows: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, int64 [rows, longest row], of ragged token ids."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        mask = np.arange(lengths.max(initial=1))[None, :] < lengths[:, None]
        ids = np.full(mask.shape, self.tokenizer.pad_token_id, dtype=np.int64)
        ids[mask] = np.concatenate(list(rows)) if len(rows) else []
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}

    def export(self, folder: str) -> None:
        """Write the model in sentence-transformers' layout, prompts included and adapters merged, to a local folder."""
        while self._adapted:
            self._adapted.pop().merge_and_unload()
        self.model.prompts = {
            "query": self.prefixes["query"],
            "passage": self.prefixes["passage"],
            "document": self.prefixes["passage"],
            **self.instructions,
        }
        self.model.max_seq_length = max(self.limits.values())
        self.model.save(folder)


def build(config: EncoderConfig, tokenizer_uri: str | None = None, seed: int = 0) -> Encoder:
    """The encoder that `config` names.

    Args:
        tokenizer_uri: folder of the tokenizer for a random-weight size, whose vocabulary it gets.
        seed: of the random weights.

    Raises:
        UserError: the model is not a model, a size is named without a tokenizer, or attention cannot be as demanded.
    """
    if config.model in SIZES:
        if tokenizer_uri is None:
            raise UserError(f"--model {config.model}: random weights have no tokenizer here; name a folder or hub id")
        model, own_prompts = _random(SIZES[config.model], tokenizers.load(tokenizer_uri), config.pooling, seed), None
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
    try:
        if not encoder.bf16:
            raise packed.CannotPack("its kernels want --precision bf16")
        texts = encoder.pad(encoder.tokenize(["one", "another text, somewhat longer"], "passage"))
        encoder.packing = packed.prepare(encoder.model, **texts)
        if encoder.packing.untrainable:
            raise packed.CannotPack(encoder.packing.untrainable)
    except packed.CannotPack as reason:
        if encoder.must_pack:
            raise UserError(f"--attention varlen: {config.model}: {reason}") from None
        log.info("%s: texts are padded%s: %s", config.model, " in training" if encoder.packing else "", reason)


def with_adapters(transformer: nn.Module, lora: LoraConfig) -> Any:
    """Put adapters into all linear layers of a transformers model; what is returned can merge them.

    Raises:
        UserError: peft is not installed.
    """
    try:
        import peft  # here, since it is optional
    except ImportError:
        raise UserError("--lora-rank: peft is not installed: pip install 'hbt-ray[lora]'") from None
    settings = peft.LoraConfig(
        r=lora.lora_rank, lora_alpha=lora.lora_alpha, lora_dropout=lora.lora_dropout, target_modules="all-linear"
    )
    return peft.LoraModel(transformer, settings, "default")


def is_trained(name: str) -> bool:
    """Whether the parameter of this name is: pooling is ours, so the transformer's own layer gets no gradient."""
    return "pooler" not in name.split(".")


def set_dropout(model: nn.Module, probability: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def shape_config(shape: Shape, tokenizer: PreTrainedTokenizerBase) -> XLMRobertaConfig:
    """The settings of an XLM-R-shaped encoder with the vocabulary of `tokenizer`."""
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
    try:
        path = storage.local_copy(config.model) if "://" in config.model else config.model
        if os.path.isdir(path) and not os.path.exists(os.path.join(path, "config.json")):
            raise UserError(f"--model {config.model} is not a model: it has no config.json")
        own = is_sentence_transformer_model(path)
        model = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": torch.float32})
    except UserError:
        raise
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"--model {config.model} is not a model: {' '.join(str(error).split())[:300]}") from None
    if model.tokenizer.pad_token_id is None:
        raise UserError(f"--model {config.model}: its tokenizer has no padding token")
    if config.pooling is not None:
        model = _assemble(model[0], config.pooling)
    elif not any(isinstance(module, Normalize) for module in model):
        model.append(Normalize())
    return model, dict(model.prompts) if own else None


def _assemble(transformer: nn.Module, pooling: str) -> SentenceTransformer:
    width = transformer.get_embedding_dimension()  # type: ignore[operator]
    mode = {"mean": "mean", "cls": "cls", "last": "lasttoken"}[pooling]
    return SentenceTransformer(modules=[transformer, Pooling(width, mode), Normalize()], device="cpu")


def prefixes(config: EncoderConfig, own: dict[str, str] | None) -> dict[Role, str]:
    """Role to the text put before it, of a model whose own prompts are `own` (None: it names none)."""
    query = own.get("query", "") if own is not None else "query: "
    passage = own.get("passage", own.get("document", "")) if own is not None else "passage: "
    return {
        "query": query if config.query_prefix is None else config.query_prefix,
        "passage": passage if config.passage_prefix is None else config.passage_prefix,
    }


def _limits(config: EncoderConfig, model: SentenceTransformer) -> dict[Role, int]:
    own = min(model.max_seq_length or TOKEN_LIMIT, TOKEN_LIMIT)
    return {"query": min(config.max_query_tokens or own, own), "passage": min(config.max_passage_tokens or own, own)}
