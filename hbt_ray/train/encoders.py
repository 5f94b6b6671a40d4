"""The encoder of a training run, checked against what it is trained on, and what the run reads for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import TrainConfig, UserError
from hbt_ray.data.lengths import percentile
from hbt_ray.data.stores import PairStore, Stores
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder
from hbt_ray.model.prefixes import MARGIN, joins, needs_texts
from hbt_ray.model.prompts import find_prompts
from hbt_ray.model.tokenizer import tokenizer_fingerprint
from hbt_ray.train.losses.check import check_dims, check_teacher, needs_scores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def trained_encoder(config: TrainConfig, store: PairStore) -> Encoder:
    """The encoder that a run with these settings begins with, adapters included.

    Raises:
        UserError: the model is unusable, or does not fit the store (`check_fits`) or the losses.
    """
    encoder = build_encoder(config.encoder, store.tokenizer_uri, config.batches.seed)
    encoder.adapt(config.lora, config.batches.seed)
    check_fits(encoder, store)
    check_dims(config.loss, encoder.width)
    check_teacher(config.loss, encoder.width)
    return encoder


def check_fits(encoder: Encoder, store: PairStore) -> None:
    """Check that the encoder can be trained on the store.

    Raises:
        UserError: the store was tokenised with another tokenizer, a prefix changes the tokens of texts that the store
            does not have, or an instruction is for a source that the store does not have.
    """
    if tokenizer_fingerprint(encoder.tokenizer) != store.tokenizer_fingerprint:
        raise UserError(
            f"{store.uri} was tokenised with another tokenizer than the model's: run prepare with the model's tokenizer"
        )
    for prefix in {*encoder.prefixes.values(), *encoder.instructions.values()}:
        check_prefix(encoder.tokenizer, store, prefix)
    sources = {stream.source for stream in store.streams}
    unknown = sorted(set(encoder.instructions) - sources)
    if unknown:
        raise UserError(f"--instructions: the store has no source {unknown[0]!r}; it has {', '.join(sorted(sources))}")


def check_lengths(config: TrainConfig, store: Stores) -> None:
    """Check that texts as long as the settings ask for are there, where longer ones were cut when they were prepared.

    Raises:
        UserError: they are not.
    """
    asked = max(config.encoder.max_query_tokens or 0, config.encoder.max_passage_tokens or 0)
    for one in store.stores:
        cut = sum(about.get("cut", 0) for about in one.manifest.get("inputs", {}).values())
        longest = max((percentile(counts, 100) for stream in one.streams for counts in stream.lengths), default=0)
        if cut and asked > longest + MARGIN:
            raise UserError(
                f"--max-query-tokens or --max-passage-tokens {asked}: {cut} longer texts of {one.uri} were cut at"
                f" {longest} tokens: prepare it again with --max-tokens {asked}, or say at most {longest}"
            )


def with_prefixes(config: TrainConfig) -> TrainConfig:
    """The settings with the model's own prompts where they leave a prefix to the model.

    Raises:
        UserError: the model is not a model.
    """
    found = find_prompts(config.encoder).prefixes
    told = {"query_prefix": found["query"], "passage_prefix": found["passage"]}
    return config.model_copy(update={"encoder": config.encoder.model_copy(update=told)})


def wanted(config: TrainConfig, store: PairStore) -> Wanted:
    """What the run reads of each pair; a store with texts has them tokenised with any prefix there is.

    Args:
        config: as `with_prefixes` gives it, if the store has texts.
    """
    negatives, scores = config.optimizer.hard_negatives, any(needs_scores(one) for one in config.loss)
    if not store.has_texts:
        return Wanted(negatives, scores)
    query, passage = config.encoder.query_prefix, config.encoder.passage_prefix
    assert query is not None and passage is not None
    own = config.encoder.instructions
    return Wanted(negatives, scores, query_prefix=query, query_prefixes=own, passage_prefix=passage)


def check_prefix(tokenizer: PreTrainedTokenizerBase, store: PairStore, prefix: str) -> None:
    """Check that the store has what is needed for texts behind the prefix.

    Raises:
        UserError: the prefix changes the tokens of texts that the store does not have.
    """
    if store.has_texts or not prefix:
        return
    if tokenizer.truncation_side == "right" and joins(tokenizer, prefix):
        return
    line = f"prefix {prefix!r} changes the tokens of a text behind it"
    if needs_texts(tokenizer):
        raise UserError(f"{line}, and {store.uri} has no texts: prepare it again, into another folder")
    raise UserError(f"{line}: end it in a space")
