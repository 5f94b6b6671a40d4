"""Which of the models that are served encodes the queries of which collection: the one that encoded its documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.config.base import first_reason
from hbt_ray.encode.encode import Identity, identify
from hbt_ray.search.serving.served import Served


class Models(NamedTuple):
    """The models, and who needs them.

    Attributes:
        configs: name to settings: prefixes, limits and precision are those of the collections.
        widths: name to length of a vector.
        of: collection to the name of its model.
    """

    configs: dict[str, EncoderConfig]
    widths: dict[str, int]
    of: dict[str, str]


def match(named: Mapping[str, str], collections: Mapping[str, Served]) -> Models:
    """Find each collection's model by its weights. A model that no collection is of is served for `/embed` alone.

    Args:
        named: name to hub id or folder.

    Raises:
        UserError: one is no model, or a collection is of none of them.
    """
    known: dict[str, Identity] = {}
    configs: dict[str, EncoderConfig] = {}
    of: dict[str, str] = {}

    def identity(config: EncoderConfig) -> Identity:
        key = config.model_dump_json()
        if key not in known:
            known[key] = identify(config)
        return known[key]

    for name, served in collections.items():
        manifest, widths = served.manifest, {}
        likely = sorted(named, key=lambda model: (model != name, named[model] != manifest["model"]))
        for model in likely:
            config = _as_encoded(named[model], manifest, name)
            if configs.get(model, config) != config:
                continue  # it has the settings of another collection: a second name would have these
            found = identity(config)
            widths[model] = found.width
            if found.fingerprints[manifest["role"]] == manifest["model_fingerprint"]:
                configs[model], of[name] = config, model
                break
        else:
            raise UserError(_none_of(name, served, widths))
    for model in named.keys() - configs.keys():
        configs[model] = EncoderConfig(model=named[model])
    return Models(configs, {model: identity(config).width for model, config in configs.items()}, of)


def _as_encoded(model: str, manifest: Mapping[str, Any], name: str) -> EncoderConfig:
    """The settings that the collection's documents were encoded with, but of this model, whose own code is not run."""
    told = {**(manifest.get("encoder") or {}), "model": model, "revision": None, "trust_remote_code": False}
    try:
        return EncoderConfig.model_validate(told)
    except ValidationError as error:
        raise UserError(f"--collections {name}: its encoder's settings: {first_reason(error)}") from None


def _none_of(name: str, served: Served, widths: Mapping[str, int]) -> str:
    width = served.manifest["width"]
    if widths and width not in widths.values():
        theirs = ", ".join(f"{model} gives {count:,}" for model, count in widths.items())
        return f"--collections {name}: its vectors have {width:,} numbers, and of --models {theirs}"
    return (
        f"--collections {name}: none of --models is {served.manifest['model']} with the weights, prefix, length limit"
        " and precision that it was encoded with; a model that two collections use differently needs two names"
    )
