"""The longest text of each role: what was asked for where the model can take it, else the model's own limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.model.encoder import ROLES, Role
from hbt_ray.model.files import ModelFiles, model_errors
from hbt_ray.model.shapes import SIZES, TOKEN_LIMIT

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def room(transformer: PreTrainedModel) -> int | None:
    """The longest text that a transformer has positions for [tokens]; None: any.

    Models of RoBERTa's kind number positions from behind their padding index, so a table of 514 has room for 512.
    """
    found = getattr(transformer.config.get_text_config(), "max_position_embeddings", None)
    limits = [int(found)] if found and found > 0 else []
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in ("position_embeddings", "wpe"):
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    return min(limits, default=None)


def find_limits(config: EncoderConfig, has_room: int | None) -> dict[Role, int]:
    """The longest text of each role, special tokens and prefix included [tokens].

    Args:
        has_room: what `room` says of the model.

    Raises:
        UserError: the model has no room for what was asked.
    """
    own = _own(config, has_room)
    found: dict[Role, int] = {}
    for role, asked in zip(ROLES, (config.max_query_tokens, config.max_passage_tokens), strict=True):
        if asked is not None and has_room is not None and asked > has_room:
            raise UserError(f"--max-{role}-tokens {asked}: {config.model} has room for {has_room} tokens")
        found[role] = own if asked is None else asked
    return found


def model_limits(config: EncoderConfig) -> dict[Role, int]:
    """The limits as `build_encoder` finds them; weights are not loaded.

    Raises:
        UserError: it is not a model, or has no room for what was asked.
    """
    if config.model in SIZES:
        return find_limits(config, TOKEN_LIMIT)
    files = ModelFiles.of(config)
    return find_limits(config, room(on_meta(files.transformer_config(), files)))


def on_meta(settings: PretrainedConfig, files: ModelFiles) -> PreTrainedModel:
    """The transformer of these settings without memory: its parameters have shapes only.

    Raises:
        UserError: its code cannot make it.
    """
    import torch
    from transformers import AutoModel  # here, since it takes as long to import as torch and Ray together

    with model_errors(files.name), torch.device("meta"):
        model: PreTrainedModel = AutoModel.from_config(settings, trust_remote_code=files.trust_remote_code)
    return model


def _own(config: EncoderConfig, has_room: int | None) -> int:
    """The model's own limit [tokens]: what it says in sentence-transformers' layout, else at most its family's."""
    if config.model in SIZES:
        return TOKEN_LIMIT
    files = ModelFiles.of(config)
    stated = [limit for limit in (files.stated_limit(), has_room) if limit is not None]
    if not files.modules:
        stated.append(files.family.limit if files.family and files.family.limit else TOKEN_LIMIT)
    return min(stated, default=TOKEN_LIMIT)
