"""A file of DeepSpeed's own settings: only what leaves the gradient and the resume as they are is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hbt_ray import storage
from hbt_ray.config import UserError

TABLE = Path(__file__).with_name("deepspeed.yaml")
AUTO = "auto"  # how DeepSpeed files of transformers leave a value to the run


def read(uri: str) -> dict[str, Any]:
    """The settings in the file, without those that are left to the run.

    Raises:
        UserError: it cannot be read, or says what a run cannot do; the line names the key.
    """
    file = f"--deepspeed {uri}"
    try:
        given = storage.read_json(uri)
    except FileNotFoundError:
        raise UserError(f"--deepspeed: no file {uri}") from None
    if not isinstance(given, dict):
        raise UserError(f"{file} is not a JSON object")
    return _taken(file, given, _table()["taken"], "")


def _taken(file: str, given: Mapping[str, Any], allowed: Mapping[str, Any], within: str) -> dict[str, Any]:
    """The object below the keys `within`, checked and without what is left to the run."""
    found = {}
    for name, value in given.items():
        key = f"{within}{name}"
        if name not in allowed:
            near = get_close_matches(name, allowed, n=1)
            unknown = f"no run has that setting{f', but {within}{near[0]}' if near else ''}"
            raise UserError(f"{file} has {key}: {_reason(key) or unknown}; leave it out")
        rule = allowed[name]
        if value == AUTO:
            continue
        if isinstance(rule, list):
            if not any(value == one and type(value) is type(one) for one in rule):
                known = f"a run knows {', '.join(map(json.dumps, rule))}"
                raise UserError(f"{file} has {key} {json.dumps(value)}: {_reason(key) or known}; leave it out")
        elif rule:
            if not isinstance(value, dict):
                raise UserError(f"{file} has {key} {json.dumps(value)}, which is not a JSON object")
            value = _taken(file, value, rule, f"{key}.")
        found[name] = value
    return found


def _reason(key: str) -> str | None:
    """Why a key is refused, if it is known by its name or by that of the object it is in."""
    refused = _table()["refused"]
    return refused.get(key) or refused.get(key.partition(".")[0])


@cache
def _table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text("utf-8"))
    return table
