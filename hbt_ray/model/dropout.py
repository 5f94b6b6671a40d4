"""Dropout: of a whole model, and of its attention alone, which keeps it from taking texts without padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAMES = ("attention_dropout", "dropout")  # of a number or an nn.Dropout in an attention module of transformers
_SEEN = "hbt_seen"  # in the registry


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the probability of every dropout of the model, that of attention included."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        for name in NAMES:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, probability)


def set_attention_dropout(model: PreTrainedModel, probability: float, texts: dict[str, Tensor]) -> bool:
    """Set the probability with which attention leaves weights out; returns whether it is so in all of attention.

    Modules have it under several names, so the model encodes `texts` and what its attention is told is looked at.

    Args:
        texts: what the model takes, int64 [texts, tokens] each.
    """
    for module, told in _told(model, texts):
        if told == probability:
            continue
        for name in NAMES:
            value = getattr(module, name, None)
            if isinstance(value, nn.Dropout):
                value.p = probability
            elif isinstance(value, float | int):
                setattr(module, name, probability)
    found = _told(model, texts)
    return bool(found) and all(told == probability for _, told in found)


def _told(model: PreTrainedModel, texts: dict[str, Tensor]) -> list[tuple[nn.Module, float]]:
    """Each module that computes attention, and the dropout that it asks for in training; none where it computes it by
    itself, without transformers' registry."""
    found: list[tuple[nn.Module, float]] = []

    def attention(module: nn.Module, *args: Any, **options: Any) -> tuple[Tensor, None]:
        found.append((module, float(options.get("dropout") or 0.0)))
        return sdpa_attention_forward(module, *args, **options)

    if model.config._attn_implementation != "sdpa":
        return []
    modes = [(module, module.training) for module in model.modules()]
    AttentionInterface.register(_SEEN, attention)
    model.set_attn_implementation(_SEEN)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model.train()(**texts)
    finally:
        model.set_attn_implementation("sdpa")
        for module, training in modes:
            module.training = training
    return found
