"""Settings of `prepare`, and of the inputs that it and `mine` read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.uris import ModelName, OutUri, Uri

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PLAIN = "data"  # name of an input that has none: the same for the same bytes elsewhere
PASSED_ON = ("source", "split", "language", "query_language", "passage_language", "columns", "limit")


def named_place(text: str) -> tuple[str, str]:
    """Name and place of `NAME=PLACE`; the name is empty where there is none, or where the whole is what exists."""
    name, equals, place = text.partition("=")
    if not equals or not NAME.fullmatch(name) or os.path.exists(text):
        return "", text
    return name, place


class Input(Section):
    """One data set, or some files of it. What it does not say, the flags of the same names say for all inputs."""

    name: str | None = Field(None, pattern=rf"^{NAME.pattern}$", description="name of the data set")
    uri: Uri | None = Field(None, description="file, folder or glob; unset: where `source` is published [URI]")
    source: str | None = Field(None, description="format, or a data set known by name")
    split: str | None = None
    config: tuple[str, ...] = Field((), description="folders of a data set on the hub; none named: all")
    language: str | None = None
    query_language: str | None = None
    passage_language: str | None = None
    columns: dict[str, str] = Field({})
    limit: int | None = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        """`NAME=URI`, a plain URI, or in the place of a URI the name of a known data set, as a mapping."""
        if not isinstance(value, str):
            return value
        name, place = named_place(value)
        known = NAME.fullmatch(place) and "." not in place and not os.path.exists(place)
        found = {"source": place} if known else {"uri": place}
        return {**found, "name": name or (place if known else None)}


class Excluded(Section):
    """An evaluation task whose queries and relevant documents are kept out of training."""

    name: str = Field(description="name of the task")
    uri: Uri | None = Field(None, description="folder of the task's files; unset: where they are published [URI]")

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        """`TASK` or `TASK=URI` as a mapping."""
        if not isinstance(value, str):
            return value
        name, place = named_place(value)
        return {"name": name, "uri": place} if name else {"name": value}


class InputConfig(Section):
    """Files of pairs, and what is done when one is bad."""

    source: str | None = Field(
        None,
        description="format of the input, as pairs, parallel, bitext, squad, jsonl, or a data set known by name, as"
        " world-facts; unset: found by looking at columns",
    )
    input: tuple[Input, ...] = Field(
        (),
        description="data sets, NAME=URI; one alone needs no name, and a NAME given twice is one data set [URIs of"
        " files, folders or globs]",
    )
    split: str | None = Field(
        None, description="split to read where names of files tell it; a+b for two, as of the hub"
    )
    columns: dict[str, str] = Field(
        {}, description="our column to theirs, as query=anchor passage=positive negatives=negative_* text.de=german"
    )
    language: str | None = Field(None, description="language of rows that do not tell theirs [BCP-47]")
    query_language: str | None = Field(None, description="the same, of queries only [BCP-47]")
    passage_language: str | None = Field(None, description="the same, of passages only [BCP-47]")
    limit: int | None = Field(None, ge=1, description="first rows of each data set that are read; unset: all [rows]")
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="a bad file or an unknown language tag: stop, or skip it into quarantine/"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:
        """Inputs given as a mapping of names, as YAML may have them."""
        inputs = values.get("input") if isinstance(values, Mapping) else None
        if isinstance(inputs, Mapping):
            listed = [
                {"name": name, **(about if isinstance(about, Mapping) else {"uri": about})}
                for name, about in inputs.items()
            ]
            return {**values, "input": listed}
        return {**values, "input": [inputs]} if isinstance(inputs, str) else values

    @model_validator(mode="after")
    def _check(self) -> InputConfig:
        plain = [one.uri or "" for one in self.input if one.name is None]
        if plain and len(self.input) > 1:
            others = f" and {len(plain) - 2} more" if len(plain) > 2 else ""
            raise ValueError(
                f"--input: {', '.join(plain[:2])}{others} cannot be without a name among several inputs: name a data"
                " set NAME=URI, and all files of one data set by their folder or a quoted glob, as 'folder/*.parquet'"
            )
        return self

    @property
    def places(self) -> list[str]:
        """Where the inputs are that have a place [URIs]."""
        return [one.uri for one in self.input if one.uri is not None]

    def inputs(self) -> tuple[Input, ...]:
        """The inputs, each with its name and all that is said for every one; where only `source` is given, that."""
        given = self.input or ((Input(name=self.source),) if self.source is not None else ())
        shared = {field: getattr(self, field) for field in PASSED_ON}
        return tuple(
            one.model_copy(
                update={
                    "name": one.name or PLAIN,
                    **{field: value for field, value in shared.items() if getattr(one, field) in (None, {})},
                }
            )
            for one in given
        )


class PrepareConfig(InputConfig):
    """Settings of `prepare`: source files to a stream store."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "input", "tokenizer", "out", "append", "source", "split", "columns", "language", "inspect", "max_tokens",
        "on_error", "max_bad_share", "partitions", "seed",
    )  # fmt: skip

    FREE: ClassVar[frozenset[str]] = frozenset(
        ["out", "append", "on_error", "partitions", "licenses", "max_bad_share", "inspect"]
    )
    """Settings that do not decide what comes out."""

    SETTLED: ClassVar[frozenset[str]] = frozenset(
        ["tokenizer", "max_tokens", "row_group_rows", "seed", "drop_duplicates"]
    )
    """Settings that a store keeps when something is added to it."""

    tokenizer: ModelName | None = Field(
        None,
        description="hub id, folder, or train:N to learn a Unigram vocabulary of N pieces (required without --append)",
    )
    out: OutUri = Field(description="folder of the stream store [URI]")
    append: bool = Field(
        False,
        description="add the input to the finished store in --out, as new streams; its tokenizer, seed, max_tokens,"
        " row_group_rows and drop_duplicates stay",
    )
    inspect: int | None = Field(
        None, ge=0, description="only show how each input would be read, with so many rows; nothing is written [rows]"
    )
    max_tokens: int = Field(512, ge=8, description="longest text kept, the rest is cut [tokens]")
    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="stop, with nothing committed, when more rows are bad [share of rows read]"
    )
    partitions: int | None = Field(
        None, ge=1, description="parts of the distributed shuffle; unset: one for every 32 MiB of input"
    )
    drop_duplicates: bool = Field(False, description="keep one of pairs whose texts are all the same")
    exclude: tuple[Excluded, ...] = Field(
        (),
        description="leave out pairs whose query or passage is, or nearly is, a query or a relevant document of these"
        " evaluation tasks [TASK, or TASK=URI of its files]",
    )
    licenses: dict[str, str] = Field(
        {}, description="licence of a source, as faq=CC-BY-4.0, which the cards of models trained on it state"
    )
    row_group_rows: int = Field(1024, ge=1, description="unit of reading and of reshuffling between passes [rows]")
    seed: int = Field(0, ge=0, description="seed of the shuffle")

    @model_validator(mode="after")
    def _check_tokenizer(self) -> PrepareConfig:
        if self.tokenizer is None and not self.append:
            raise ValueError("--tokenizer: field required")
        return self
