"""Manifests: what a folder holds becomes visible by one file that is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hbt_ray.config import UserError
from hbt_ray.storage.files import clear, read_json, remove_file, write_json
from hbt_ray.storage.uris import exists, join

VERSION = 1  # of every manifest; a reader refuses another


def fingerprint(value: Any) -> str:
    """A short stable hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def commit(out: str, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Make everything written under `out` visible: write `manifest.json`, last and at once. Returns the manifest."""
    manifest = {"kind": kind, "version": VERSION, **body}
    manifest["checksum"] = fingerprint(manifest)
    write_json(join(out, "manifest.json"), manifest)
    return manifest


def committed(out: str) -> bool:
    """Whether the folder's manifest has been written: its run is complete."""
    return exists(join(out, "manifest.json"))


def read_manifest(uri: str, kind: str) -> dict[str, Any]:
    """The manifest of the folder `uri`, which must be of `kind`.

    Raises:
        UserError: none is there (missing or unfinished), it is of another kind or version, or it was changed by hand.
    """
    path = join(uri, "manifest.json")
    if not exists(path):
        raise UserError(f"{uri} holds no finished {kind}: there is no manifest.json")
    manifest: dict[str, Any] = read_json(path)
    if manifest.get("kind") != kind or manifest.get("version") != VERSION:
        raise UserError(f"{uri} holds {manifest.get('kind')} version {manifest.get('version')}, not {kind} {VERSION}")
    body = {key: value for key, value in manifest.items() if key != "checksum"}
    if fingerprint(body) != manifest.get("checksum"):
        raise UserError(f"{path} was changed after it was written")
    return manifest


def remove(uri: str) -> None:
    """Delete a committed folder: its manifest first, so that nobody takes the rest for whole."""
    remove_file(join(uri, "manifest.json"))
    clear(uri)
