"""The modules of a model in sentence-transformers' layout: which are taken, and another pooling in place of its own."""

from __future__ import annotations

from collections.abc import Sequence

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from torch import nn

from hbt_ray.config import UserError

MODES = {"mean": "mean", "cls": "cls", "last": "lasttoken"}  # ours to sentence-transformers'


def assemble(transformer: Transformer, pooling: str) -> SentenceTransformer:
    """A model of a transformer, a pooling of ours and normalisation."""
    width = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, Pooling(width, MODES[pooling]), Normalize()], device="cpu")


def check_modules(name: str, model: SentenceTransformer) -> None:
    """Check that the encoder can be a model of these modules.

    Raises:
        UserError: it does not begin with a transformer that is given texts as they are, or has no vector for a text.
    """
    first = model[0]
    if not isinstance(first, Transformer) or "text" not in first.modality_config:
        raise UserError(f"--model {name}: its first module is {type(first).__name__}, which is no text transformer")
    if "message" in first.modality_config:
        raise UserError(f"--model {name}: its texts go through a chat template, which is not supported")
    if model.tokenizer.pad_token_id is None:
        raise UserError(f"--model {name}: its tokenizer has no padding token")
    if not model.tokenizer.is_fast:
        raise UserError(f"--model {name}: its tokenizer has no fast form")


def set_pooling(name: str, model: SentenceTransformer, pooling: str) -> None:
    """Put another pooling in place of the model's own; what stands behind it stays.

    Raises:
        UserError: the model has no pooling or several, or what stands behind it wants vectors of another length.
    """
    places = [number for number, module in enumerate(model) if isinstance(module, Pooling)]
    if len(places) != 1:
        raise UserError(f"--pooling {pooling}: {name} has {len(places)} modules that pool, not one")
    own = model[places[0]]
    new = Pooling(own.embedding_dimension, MODES[pooling], include_prompt=own.include_prompt)
    if new.get_embedding_dimension() != own.get_embedding_dimension():
        wants, width = _wants(list(model)[places[0] + 1 :]), new.get_embedding_dimension()
        if wants not in (None, width):
            raise UserError(
                f"--pooling {pooling} gives vectors of {width} numbers, and the Dense module behind it in {name} wants"
                f" {wants}, as of {own.pooling_mode}"
            )
    model[places[0]] = new


def _wants(modules: Sequence[nn.Module]) -> int | None:
    return next((module.in_features for module in modules if isinstance(module, Dense)), None)
