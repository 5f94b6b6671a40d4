"""`soup`: the mean of the weights of models that were fine-tuned from one (Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, SoupConfig, UserError
from hbt_ray.model.build import build_encoder, local_models
from hbt_ray.model.encoder import Encoder
from hbt_ray.model.tokenizer import tokenizer_fingerprint
from hbt_ray.train import checkpoint
from hbt_ray.train.card import usage
from hbt_ray.train.folder import complete_steps

OWNS = ("model", "manifest.json")
Weights = Mapping[str, torch.Tensor]
log = logging.getLogger(__name__)


def soup(config: SoupConfig) -> dict[str, Any]:
    """Average models, or the checkpoints that a run has kept; returns `{"model", "averaged"}`, the latter by name with
    their shares. A finished soup is left.

    All else is that of the first model, or of the run's: modules, prompts, limits.

    Raises:
        UserError: a model is unusable or of another shape, tokenizer or prompts than the first, or the run is not
            finished, trained adapters, or has kept one checkpoint only.
    """
    inputs = (
        [config.run] if config.run else [uri for model in config.models for uri in local_models(_named(config, model))]
    )
    storage.refuse_overlap(config.out, inputs)
    with storage.claimed(config.out, "soup", config.model_dump(mode="json", exclude={"out"}), OWNS):
        if not storage.committed(config.out):
            encoder, parts = _of_run(config) if config.run else _of_models(config)
            averaged = _average(encoder, parts)
            _export(encoder, averaged, config)
    averaged = storage.read_manifest(config.out, "model")["averaged"]
    return {"model": storage.join(config.out, "model"), "averaged": averaged}


def _named(config: SoupConfig, model: str) -> EncoderConfig:
    return EncoderConfig(model=model, trust_remote_code=config.trust_remote_code, precision="fp32", attention="sdpa")


def _of_models(config: SoupConfig) -> tuple[Encoder, Iterator[tuple[str, float, Weights]]]:
    shares = config.weights or (1.0,) * len(config.models)
    first = build_encoder(_named(config, config.models[0]))

    def parts() -> Iterator[tuple[str, float, Weights]]:
        for number, (model, share) in enumerate(zip(config.models, shares, strict=True)):
            encoder = first if number == 0 else build_encoder(_named(config, model))
            _check_like(first, encoder, config.models[0], model)
            yield model, share / sum(shares), _weights(encoder)

    return first, parts()


def _of_run(config: SoupConfig) -> tuple[Encoder, Iterator[tuple[str, float, Weights]]]:
    assert config.run is not None
    storage.read_manifest(config.run, "model")
    settings = storage.read_json(storage.join(config.run, "run.json"))
    folder = storage.join(config.run, "checkpoints", str(settings.get("name")))
    steps = complete_steps(folder)
    if settings.get("lora", {}).get("lora_rank") is not None:
        raise UserError(f"{config.run} trained adapters, and its checkpoints hold them alone: average models instead")
    if len(steps) < 2:
        raise UserError(f"{config.run} has kept {len(steps)} checkpoints: train with a larger --keep-checkpoints")
    encoder = build_encoder(_named(config, storage.join(config.run, "model")))

    def parts() -> Iterator[tuple[str, float, Weights]]:
        for step in steps:
            point = checkpoint.at(folder, step)
            named = {name: tensor for _, name, tensor in point.tensors("weight")}
            point.release()
            own = {name: tensor for name, tensor in named.items() if name.startswith("encoder.")}  # no temperatures
            yield f"step {step}", 1 / len(steps), {name.removeprefix("encoder."): own[name] for name in own}

    return encoder, parts()


def _weights(encoder: Encoder) -> Weights:
    return {name: tensor for name, tensor in encoder.state_dict().items() if tensor.is_floating_point()}


def _average(encoder: Encoder, parts: Iterator[tuple[str, float, Weights]]) -> dict[str, float]:
    """Put the mean of the parts, which is taken in fp64, into the encoder; returns the share of each by name."""
    sums: dict[str, torch.Tensor] = {}
    shares: dict[str, float] = {}
    for name, share, weights in parts:
        log.info("adding %s", name)
        shares[name] = round(shares.get(name, 0.0) + share, 6)
        for key, tensor in weights.items():
            sums[key] = sums[key].add_(tensor.double(), alpha=share) if key in sums else tensor.double() * share
    own = encoder.state_dict()  # shares memory with the weights
    with torch.no_grad():
        for key, total in sums.items():
            own[key].copy_(total)
    return shares


def _check_like(first: Encoder, other: Encoder, name: str, other_name: str) -> None:
    """Check that two encoders differ by the values of their weights alone.

    Raises:
        UserError: they do not.
    """
    shapes, others = ({key: tuple(value.shape) for key, value in _weights(one).items()} for one in (first, other))
    for key in sorted({*shapes, *others}):
        if shapes.get(key) != others.get(key):
            raise UserError(
                f"{other_name} is of another shape than {name}: {key} is {others.get(key)} there and {shapes.get(key)}"
            )
    for what, there, here in (
        ("tokenizer", tokenizer_fingerprint(other.tokenizer), tokenizer_fingerprint(first.tokenizer)),
        ("prompts", other.prefixes, first.prefixes),
        ("limits", other.limits, first.limits),
    ):
        if there != here:
            raise UserError(f"{other_name} has other {what} than {name}: {there} and {here}")


def _export(encoder: Encoder, averaged: Mapping[str, float], config: SoupConfig) -> None:
    of = f"the checkpoints of one run, {', '.join(averaged)}" if config.run else "these models"
    rows = "\n".join(f"| {name} | {share:g} |" for name, share in averaged.items())
    card = f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, hbt_ray]
---

# Mean of {len(averaged)} sets of weights

A retriever whose weights are the mean of those of {of} ([model soup](https://arxiv.org/abs/2203.05482)).

| averaged | share |
|---|---|
{rows}

## How to use it

{usage(encoder, config.trust_remote_code)}
"""
    with tempfile.TemporaryDirectory() as folder:
        encoder.export(folder)
        Path(folder, "README.md").write_text(card, encoding="utf-8")
        storage.upload(folder, storage.join(config.out, "model"))
    storage.commit(config.out, "model", {"averaged": dict(averaged)})
