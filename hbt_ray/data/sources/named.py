"""Public data sets by name: where they are, how they are read, and under which licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

import yaml
from pydantic import Field

from hbt_ray.config import UserError
from hbt_ray.config.base import Section


class Named(Section):
    """A data set of `named.yaml`."""

    id: str | None = Field(description="id on the hub, or URL of its file; unset: it has to be downloaded")
    beside: str | None = Field(description="id on the hub of a second data set, which the reader finds itself")
    revision: str | None = Field(description="revision on the hub")
    reader: str = Field(description="format that reads it")
    path: str | None = Field(description="its files below the id, with {config} for a language's part")
    columns: dict[str, str] = Field(description="our columns to theirs")
    languages: dict[str, str] | None = Field(description="part of the data set to its language [BCP-47]")
    splits: tuple[str, ...] = Field(description="splits that can be trained on")
    license: str | None = Field(description="licence as its card states it; unset: not known here")
    link: str = Field(description="where it is described [URL]")


@cache
def named() -> Mapping[str, Named]:
    """All data sets by name."""
    text = resources.files("hbt_ray.data.sources").joinpath("named.yaml").read_text("utf-8")
    return {name: Named(**entry) for name, entry in yaml.safe_load(text).items()}


def uris(name: str, configs: Sequence[str] = ()) -> list[str]:
    """Where the files of the data set are [URIs, with patterns]: of the parts named `configs`, or else of all.

    Raises:
        UserError: there is no such data set or part, or it cannot be read where it is.
    """
    found = _of(name)
    if found.id is None:
        raise UserError(f"{name} cannot be read from the net: download it from {found.link} and name its folder")
    if "://" in found.id:
        return [found.id]
    root = f"hf://datasets/{found.id}" + (f"@{found.revision}" if found.revision else "")
    for config in configs:
        if found.path is None or "{config}" not in found.path:
            raise UserError(f"{name} is one whole here: name the folder of {config} below {root}")
        if found.languages is not None and config not in found.languages:
            raise UserError(f"{name} has no part {config}; it has {', '.join(found.languages)}")
    if found.path is None:
        return [root]
    parts = configs or found.languages or ["*"]
    return list(dict.fromkeys(f"{root}/{found.path.replace('{config}', part)}" for part in parts))


def license_line(name: str) -> str:
    """One line that says under which licence the data set is.

    Raises:
        UserError: there is no such data set.
    """
    found = _of(name)
    return f"{name}: licence {found.license or 'not known here'}; see {found.link}"


def _of(name: str) -> Named:
    if name not in named():
        raise UserError(f"no data set is named {name}; known: {', '.join(named())}")
    return named()[name]
