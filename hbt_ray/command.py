"""A command line to settings: `--config FILE.yaml` first, then `--section.field value` over it.

A field whose name is unique in its job can be given without its section (`--alpha` for `--batches.alpha`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_origin

import fsspec
import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from hbt_ray.config import Section, UserError

C = TypeVar("C", bound=Section)
ONE_LETTER = re.compile(r"^--(?=[a-z](=|$))")  # the settings library wants -k of a field of one letter


def parse(model: type[C], arguments: Sequence[str], program: str | None = None) -> C:
    """Build `model` from command-line `arguments`; `--config URI` names a YAML file they override.

    Raises:
        UserError: a value is missing, unknown or refused; the line names the flag.
        SystemExit: after `--help`.
    """
    rest, config_uri = _split_config(list(arguments))
    values: dict[str, Any] = _read_yaml(config_uri) if config_uri else {}

    class Command(BaseSettings, model):  # type: ignore[valid-type,misc]
        __doc__ = model.__doc__
        model_config = SettingsConfigDict(
            cli_kebab_case=True,
            cli_implicit_flags=True,
            cli_avoid_json=True,
            cli_exit_on_error=False,
            cli_hide_none_type=True,
            cli_prog_name=program,
            nested_model_default_partial_update=True,
            cli_shortcuts=_shortcuts(model),
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings,)  # the command line comes before it; the environment is no source

    try:
        flags = [ONE_LETTER.sub("-", argument) for argument in _take_lists(rest, model, values)]
        parsed = Command(_cli_parse_args=flags, **values)
    except ValidationError as error:
        raise UserError(validation_line(error)) from None
    except SettingsError as error:
        raise UserError(str(error).removeprefix("error parsing CLI: ")) from None
    return model.model_validate(parsed.model_dump())


def validation_line(error: ValidationError) -> str:
    """All that a pydantic error says, as one line of `--flag: reason`."""
    reasons = []
    for item in error.errors():
        flag = "--" + ".".join(str(part) for part in item["loc"]).replace("_", "-")
        given = "" if item["type"] == "missing" else f", not {item['input']!r}"
        reasons.append(f"{flag}: {item['msg'][0].lower()}{item['msg'][1:]}{given}")
    return "; ".join(reasons)


def _split_config(arguments: list[str]) -> tuple[list[str], str | None]:
    for position, argument in enumerate(arguments):
        if argument == "--config":
            if position + 1 == len(arguments):
                raise UserError("--config: needs a YAML file")
            return arguments[:position] + arguments[position + 2 :], arguments[position + 1]
        if argument.startswith("--config="):
            return arguments[:position] + arguments[position + 1 :], argument.partition("=")[2]
    return arguments, None


def _read_yaml(uri: str) -> dict[str, Any]:
    try:
        with fsspec.open(uri, "rb") as file:
            values = yaml.safe_load(file)
    except (OSError, ValueError) as error:
        raise UserError(f"--config: cannot read {uri}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"--config: {uri} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"--config: {uri} holds no settings")
    return values


def _take_lists(arguments: Sequence[str], model: type[Section], values: dict[str, Any]) -> list[str]:
    """Move `--input a b` into `values`, since the settings library has lists as JSON; returns the other arguments.

    Raises:
        UserError: a flag that takes one value got several.
    """
    fields = [(path, leaf) for path, leaf, kind in _leaves(model, "") if get_origin(kind) is tuple]
    paths = {f"--{name}": path for path, leaf in fields for name in (path, leaf)}
    others: list[str] = []
    position = 0
    while position < len(arguments):
        flag, equals, first = arguments[position].partition("=")
        stop = position + 1
        while stop < len(arguments) and not arguments[stop].startswith("--"):
            stop += 1
        given = ([first] if equals else []) + list(arguments[position + 1 : stop])
        if flag in paths:
            *sections, field = paths[flag].replace("-", "_").split(".")
            inner = values
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[field] = given
        elif len(given) > 1:
            raise UserError(f"{flag}: takes one value, not {' '.join(given)}")
        else:
            others += arguments[position:stop]
        position = stop
    return others


def _shortcuts(model: type[Section]) -> dict[str, str]:
    """`{"batches.batch-size": "batch-size"}` for every field of a section whose name nothing else bears."""
    leaves = [(path, leaf) for path, leaf, _ in _leaves(model, "")]
    uses = Counter(leaf for _, leaf in leaves)
    return {path: leaf for path, leaf in leaves if path != leaf and uses[leaf] == 1}


def _leaves(model: type[Section], prefix: str) -> Iterator[tuple[str, str, Any]]:
    """Path with section, name and type of every field."""
    for name, field in model.model_fields.items():
        flag = name.replace("_", "-")
        if _is_section(field.annotation):
            yield from _leaves(field.annotation, f"{prefix}{flag}.")  # type: ignore[arg-type]
        else:
            yield prefix + flag, flag, field.annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
