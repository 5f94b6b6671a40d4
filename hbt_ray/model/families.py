"""Families of models: what is known of them where their folders do not say it (`families.yaml`)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

TABLE = Path(__file__).with_name("families.yaml")


class Family(BaseModel):
    """What is known of a family.

    Attributes:
        names: regular expressions of its models' names.
        query, passage: text put before queries and passages.
        pooling: how the vectors of tokens become one.
        limit: longest text, special tokens and prefix included [tokens]; None: not known.
        packing: whether its attention can take texts without padding, where kernels and dropout allow it.
        lora: linear layers that adapters go into, as the ends of their names; none: all.
        base: whether it is an encoder to be trained, not a retriever: prefixes and limit are ours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    query: str = ""
    passage: str = ""
    pooling: Literal["mean", "cls", "last"] = "mean"
    limit: int | None = None
    packing: bool = True
    lora: tuple[str, ...] = ()
    base: bool = False


@cache
def families() -> tuple[Family, ...]:
    """The table, in its order."""
    return tuple(Family.model_validate(row) for row in yaml.safe_load(TABLE.read_text("utf-8")))


def family_of(*names: str) -> Family | None:
    """The family of a model that goes by any of these `names`: of a path, the last two folders count."""
    for family in families():
        for name in names:
            end = "/".join(name.rstrip("/").split("/")[-2:])
            if any(re.search(pattern, end, re.IGNORECASE) for pattern in family.names):
                return family
    return None
