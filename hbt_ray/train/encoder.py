"""The encoder: any transformers encoder in sentence-transformers' layout, or a random-weight XLM-R shape."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Literal, NamedTuple

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
from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.data import tokenizer as tokenizers
from hbt_ray.data.tokenizer import Frame

Role = Literal["query", "passage"]
disable_progress_bar()

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
        limits: role to the longest text, special tokens and prefix included [tokens].
    """

    def __init__(self, model: SentenceTransformer, prefixes: dict[Role, str], limits: dict[Role, int], bf16: bool):
        super().__init__()
        self.model = model
        self.prefixes = prefixes
        self.limits = limits
        self.bf16 = bf16
        for name, parameter in model.named_parameters():
            if ".pooler." in name:  # pooling is ours: the transformer's own layer gets no gradient
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
        """Unit vectors, fp32 [rows, width], of padded token ids, int64 [rows, tokens]."""
        with torch.autocast(input_ids.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            features = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        vectors = features["sentence_embedding"]
        return nn.functional.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1)

    def frame(self, role: Role) -> Frame:
        """What stored tokens get around them in this role."""
        return Frame(self.tokenizer, self.prefixes[role])

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
        """Write the model in sentence-transformers' layout, prompts included, to a local folder."""
        self.model.prompts = {
            "query": self.prefixes["query"],
            "passage": self.prefixes["passage"],
            "document": self.prefixes["passage"],
        }
        self.model.max_seq_length = max(self.limits.values())
        self.model.save(folder)


def build(config: EncoderConfig, tokenizer_uri: str | None = None, seed: int = 0) -> Encoder:
    """The encoder that `config` names.

    Args:
        tokenizer_uri: folder of the tokenizer for a random-weight size, whose vocabulary it gets.
        seed: of the random weights.

    Raises:
        UserError: the model is not a model, or a size is named without a tokenizer.
    """
    if config.model in SIZES:
        if tokenizer_uri is None:
            raise UserError(f"--model {config.model}: random weights have no tokenizer here; name a folder or hub id")
        model, own_prompts = _random(SIZES[config.model], tokenizers.load(tokenizer_uri), config.pooling, seed), None
    else:
        model, own_prompts = _pretrained(config)
    if config.dropout is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
    return Encoder(model, _prefixes(config, own_prompts), _limits(config, model), config.precision == "bf16")


def _random(shape: Shape, tokenizer: PreTrainedTokenizerBase, pooling: str | None, seed: int) -> SentenceTransformer:
    settings = XLMRobertaConfig(
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
    )
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings.architectures = ["XLMRobertaModel"]
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


def _prefixes(config: EncoderConfig, own: dict[str, str] | None) -> dict[Role, str]:
    query = own.get("query", "") if own is not None else "query: "
    passage = own.get("passage", own.get("document", "")) if own is not None else "passage: "
    return {
        "query": query if config.query_prefix is None else config.query_prefix,
        "passage": passage if config.passage_prefix is None else config.passage_prefix,
    }


def _limits(config: EncoderConfig, model: SentenceTransformer) -> dict[Role, int]:
    own = min(model.max_seq_length or TOKEN_LIMIT, TOKEN_LIMIT)
    return {"query": min(config.max_query_tokens or own, own), "passage": min(config.max_passage_tokens or own, own)}
