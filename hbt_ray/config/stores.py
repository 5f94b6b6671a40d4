"""The stores that a run trains on: which they are, and how much each counts."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.data import NAME, named_place
from hbt_ray.config.uris import Uri


class WeightedStore(Section):
    """One store of a run."""

    name: str | None = Field(None, pattern=rf"^{NAME.pattern}$", description="name of the store among several")
    uri: Uri = Field(description="stream store written by prepare [URI]")
    weight: float = Field(1.0, gt=0, description="how often its rows are drawn, as a multiple of others' rows")
    checksum: str | None = Field(None, description="checksum of its manifest, which it has to have; unset: any")

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        """`NAME=URI:WEIGHT`, of which name and weight may be left out, as a mapping."""
        found = value
        if isinstance(value, str):
            name, place = named_place(value)
            found = {**({"name": name} if name else {}), **_place(place)}
        if isinstance(found, Mapping):
            weight = found.get("weight", 1.0)
            if not _is_number(weight) or not 0 < float(weight) < math.inf:
                which = found.get("name") or found.get("uri")
                raise ValueError(f"the weight of {which} has to be a number greater than 0, not {weight}")
        return found


def _place(text: str) -> dict[str, Any]:
    """`URI:WEIGHT` or a URI: what exists under the literal name is a URI, whatever it ends in."""
    uri, colon, weight = text.rpartition(":")
    if not colon or os.path.exists(text) or not (_is_number(weight) or os.path.exists(uri)):
        return {"uri": text}
    return {"uri": uri, "weight": weight}


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _listed(value: Any) -> Any:
    """One store, or a mapping of names as YAML may have it, as a list."""
    if isinstance(value, Mapping):
        return [
            {"name": name, **(about if isinstance(about, Mapping) else _place(str(about)))}
            for name, about in value.items()
        ]
    return [value] if isinstance(value, str) else value


def _told_apart(stores: tuple[WeightedStore, ...]) -> tuple[WeightedStore, ...]:
    if not stores:
        raise ValueError("name at least one store")
    if len(stores) > 1:
        for one in stores:
            if one.name is None:
                raise ValueError(f"{one.uri} needs a name among several stores: say NAME={one.uri}")
        for key, values in (("name", [one.name for one in stores]), ("URI", [one.uri.rstrip("/") for one in stores])):
            value, count = Counter(values).most_common(1)[0]
            if count > 1:
                raise ValueError(f"the {key} {value} is there twice; a weight draws a store more often")
    return stores


Data = Annotated[tuple[WeightedStore, ...], BeforeValidator(_listed), AfterValidator(_told_apart)]
"""The stores of a run, told apart by name where there are several."""
