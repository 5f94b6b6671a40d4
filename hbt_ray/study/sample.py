"""The built-in world facts as studies train on them: a store of pairs, perhaps with instruction data among them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import Input, PrepareConfig, Sample, UserError
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.data.sources.world_facts_templates import LANGUAGES


def sample_languages(sample: Sample) -> tuple[str, ...]:
    """The languages that the facts are told in.

    Raises:
        UserError: one is none of the corpus.
    """
    unknown = sorted(set(sample.languages) - set(LANGUAGES))
    if unknown:
        raise UserError(f"--languages: {unknown[0]} is none of {' '.join(LANGUAGES)}")
    return sample.languages or LANGUAGES


def prepare_sample(sample: Sample, out: str, facts: str, seed: int = 0) -> dict[str, Any]:
    """Write the training facts to the file `facts` [URI], unless it is there, and make the store `out` of it.

    Raises:
        UserError: a language is none of the corpus, or there are not so many instructions.
    """
    spoken = sample_languages(sample)
    if not storage.exists(facts):  # a store knows the version of its input
        told = world_facts.fact_rows("train", spoken, sample.aligned)
        count = round(len(told) * sample.instructions / (1 - sample.instructions))
        try:
            both = [told, world_facts.instruction_rows(count)] if count else [told]
        except ValueError as error:
            raise UserError(f"instructions: {sample.instructions} of all pairs are too many: {error}") from None
        storage.write_parquet(facts, pa.concat_tables(both))
    return prepare(
        PrepareConfig(
            source="parallel",
            input=(Input(name="world-facts", uri=facts),),
            tokenizer=sample.tokenizer,
            out=out,
            partitions=2,
            seed=seed,
        )
    )
