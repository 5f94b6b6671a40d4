"""JSON and YAML that anybody may have written: parsed within bounded time and memory, or refused in one line."""

from __future__ import annotations

import json
from typing import Any

import yaml

from hbt_ray.config.base import UserError, refuse_unusable

JSON_BYTES = 2**27  # of one value
JSON_VALUES = 2**23  # which take some hundred bytes each as Python's, and may take two in the text
YAML_BYTES = 2**18  # of one text, for which the parser takes seconds
YAML_VALUES = 2**17  # where what an alias stands for counts each time


def parse_json(data: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or none that fits into memory; the error goes on after the text's name.
    """
    if len(data) > JSON_BYTES:
        raise ValueError(f"has more than {JSON_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data  # json itself takes half a surrogate pair
        if sum(map(text.count, ",[{")) <= JSON_VALUES:
            return json.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits
        raise ValueError(f"is not JSON: {error}") from None
    raise ValueError(f"has more than {JSON_VALUES:,} values")


def parse_yaml(data: bytes | str) -> Any:
    """The value of a YAML text, which is plain data: no tags of Python's, no endless or multiplied aliases.

    Raises:
        ValueError: it is none, or none that can be used; the error goes on after the text's name.
    """
    if len(data) > YAML_BYTES:
        raise ValueError(f"has more than {YAML_BYTES:,} bytes")
    try:
        loader = yaml.SafeLoader(data)
        node = loader.get_single_node()
        values = 0 if node is None else _values(node, {})
        value = loader.construct_document(node) if 0 < values <= YAML_VALUES else None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from None  # also of a tag on another's value
    if values > YAML_VALUES:
        raise ValueError(f"has aliases that stand for more than {YAML_VALUES:,} values, or for themselves")
    try:
        refuse_unusable(value)
    except ValueError as error:
        raise ValueError(f"cannot be used: {error}") from None
    return value


def read_yaml(uri: str, flag: str) -> Any:
    """The value in the YAML file that a flag names.

    Raises:
        UserError: it cannot be read, or is no YAML; the line names both.
    """
    import fsspec  # here, since few commands have a file

    if "::" in uri:
        raise UserError(f"{flag}: {uri}: file systems cannot be chained by ::")
    try:
        with fsspec.open(uri, "rb") as file:
            data = file.read(YAML_BYTES + 1)
    except Exception as error:  # of whatever file system the URI names: without credentials, address or permission
        raise UserError(f"{flag}: cannot read {uri}: {error}") from None
    try:
        return parse_yaml(data)
    except ValueError as error:
        raise UserError(f"{flag}: {uri} {error}") from None


def _values(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for, itself included, those that aliases repeat too; of a cycle without end."""
    if id(node) not in known:
        known[id(node)] = float("inf")  # as long as it is being looked at
        inside = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
        inside = () if isinstance(node, yaml.ScalarNode) else inside
        known[id(node)] = 1 + sum(_values(one, known) for one in inside)
    return known[id(node)]
