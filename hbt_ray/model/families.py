"""Families of models: what is known of them where their folders do not say it (`families.yaml`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

TABLE = Path(__file__).with_name("families.yaml")


@dataclass(frozen=True)
class Family:
    """What is known of a family.

    Attributes:
        names: regular expressions of its models' names.
        query, passage: text put before queries and passages.
        pooling: mean, cls or last.
        limit: longest text, special tokens and prefix included [tokens]; None: not known.
        packing: whether its attention can take texts without padding, where kernels and dropout allow it.
        lora: linear layers that adapters go into, as the ends of their names; none: all.
        remote_code: whether its repository brings code that transformers does not have.
        base: whether it is an encoder to be trained, not a retriever.
    """

    names: tuple[str, ...]
    query: str = ""
    passage: str = ""
    pooling: str = "mean"
    limit: int | None = None
    packing: bool = True
    lora: tuple[str, ...] = ()
    remote_code: bool = False
    base: bool = False


@cache
def families() -> tuple[Family, ...]:
    """The table, in its order."""
    rows = yaml.safe_load(TABLE.read_text("utf-8"))
    return tuple(
        Family(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
        for row in rows
    )


def family_of(*names: str) -> Family | None:
    """The family of a model that goes by any of these `names`: of a path, the last two folders count."""
    for family in families():
        for name in names:
            end = "/".join(name.rstrip("/").split("/")[-2:])
            if any(re.search(pattern, end, re.IGNORECASE) for pattern in family.names):
                return family
    return None
