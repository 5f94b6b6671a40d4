"""Settings of `prepare`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from hbt_ray.config.base import Section
from hbt_ray.config.uris import ModelName, OutUri, Uri


class InputConfig(Section):
    """Files of pairs, and what is done when one is bad."""

    source: str = Field(description="format of the input: pairs, parallel, squad, lareqa, jsonl or world-facts")
    input: tuple[Uri, ...] = Field((), description="files, folders or globs to read [URIs]")
    language: str | None = Field(None, description="language of SQuAD files whose name does not tell it [BCP-47]")
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="a bad file or an unknown language tag: stop, or skip it into quarantine/"
    )


class PrepareConfig(InputConfig):
    """Settings of `prepare`: source files to a stream store."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "source", "input", "tokenizer", "out", "language", "max_tokens", "on_error", "partitions", "seed",
    )  # fmt: skip

    FREE: ClassVar[frozenset[str]] = frozenset(["out", "on_error", "partitions", "licenses"])
    """Settings that do not decide what comes out."""

    tokenizer: ModelName = Field(description="hub id, folder, or train:N to learn a Unigram vocabulary of N pieces")
    out: OutUri = Field(description="folder of the new stream store [URI]")
    max_tokens: int = Field(512, ge=8, description="longest text kept, the rest is cut [tokens]")
    partitions: int | None = Field(
        None, ge=1, description="parts of the distributed shuffle; unset: one for every 32 MiB of input, at most 4096"
    )
    licenses: dict[str, str] = Field(
        {}, description="licence of a source, as faq=CC-BY-4.0, which the cards of models trained on it state"
    )
    row_group_rows: int = Field(1024, ge=1, description="unit of reading and of reshuffling between passes [rows]")
    seed: int = Field(0, ge=0, description="seed of the shuffle")
