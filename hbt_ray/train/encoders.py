"""The encoder of a training run, checked against what it is trained on."""

from __future__ import annotations

from hbt_ray.config import TrainConfig, UserError
from hbt_ray.data.stores import PairStore
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder
from hbt_ray.model.tokenizer import tokenizer_fingerprint


def trained_encoder(config: TrainConfig, store: PairStore) -> Encoder:
    """The encoder that a run with these settings begins with, adapters included.

    Raises:
        UserError: the model is unusable, or does not fit the store (`check_fits`).
    """
    encoder = build_encoder(config.encoder, store.tokenizer_uri, config.batches.seed)
    encoder.adapt(config.lora, config.batches.seed)
    check_fits(encoder, store)
    return encoder


def check_fits(encoder: Encoder, store: PairStore) -> None:
    """Check that the encoder can be trained on the store.

    Raises:
        UserError: the store was tokenised with another tokenizer, a prefix does not tokenise apart from the text, or an
            instruction is for a source that the store does not have.
    """
    if tokenizer_fingerprint(encoder.tokenizer) != store.tokenizer_fingerprint:
        raise UserError(
            f"{store.uri} was tokenised with another tokenizer than the model's: run prepare with the model's tokenizer"
        )
    encoder.template("query"), encoder.template("passage"), encoder.templates()
    sources = {stream.source for stream in store.streams}
    unknown = sorted(set(encoder.instructions) - sources)
    if unknown:
        raise UserError(f"--instructions: the store has no source {unknown[0]!r}; it has {', '.join(sorted(sources))}")
