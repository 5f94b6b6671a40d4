"""Manifests: what a folder holds becomes visible by one file that is written last.

Most folders have one, `manifest.json`. One that grows has a file for each version, created exclusively and never
changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hbt_ray.config import UserError
from hbt_ray.storage.fields import Shape, check
from hbt_ray.storage.files import clear, read_json, remove_file, write_json, write_new
from hbt_ray.storage.uris import exists, join

VERSION = 1  # of every manifest; a reader refuses another


def fingerprint(value: Any) -> str:
    """A short stable hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def signed(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of this kind and body, with its checksum."""
    manifest = {"kind": kind, "version": VERSION, **body}
    return {**manifest, "checksum": fingerprint(manifest)}


def commit(out: str, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Make everything written under `out` visible: write `manifest.json`, last and at once. Returns the manifest."""
    manifest = signed(kind, body)
    write_json(join(out, "manifest.json"), manifest)
    return manifest


def commit_new(uri: str, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Write a manifest that must not be there yet: of several writers, one does. Returns the manifest.

    Raises:
        FileExistsError: it is there.
    """
    manifest = signed(kind, body)
    write_new(uri, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return manifest


def committed(out: str) -> bool:
    """Whether the folder's manifest has been written: its run is complete."""
    return exists(join(out, "manifest.json"))


def read_manifest(uri: str, kind: str, shape: type[Shape] = Shape) -> dict[str, Any]:
    """The manifest of the folder `uri`, which must be of `kind` and have the fields of `shape`.

    Raises:
        UserError: none is there (missing or unfinished), it is of another kind or version, it was changed by hand, or
            a field is not as this version writes it.
    """
    path = join(uri, "manifest.json")
    if not exists(path):
        raise UserError(f"{uri} holds no finished {kind}: there is no manifest.json")
    return read_manifest_file(path, kind, shape, uri)


def read_manifest_file(path: str, kind: str, shape: type[Shape] = Shape, holder: str | None = None) -> dict[str, Any]:
    """The manifest in the file `path`, which must be of `kind` and have the fields of `shape`.

    Args:
        holder: how errors call what it is the manifest of; None: as the file.

    Raises:
        UserError: it is missing, of another kind or version, it was changed by hand, or a field is not as this version
            writes it.
    """
    try:
        manifest: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    check(manifest, Shape, path)  # it is an object
    if manifest.get("kind") != kind or manifest.get("version") != VERSION:
        raise UserError(
            f"{holder or path} holds {manifest.get('kind')} version {manifest.get('version')}, not {kind} {VERSION}"
        )
    body = {key: value for key, value in manifest.items() if key != "checksum"}
    if fingerprint(body) != manifest.get("checksum"):
        raise UserError(f"{path} was changed after it was written")
    check(manifest, shape, path)
    return manifest


def remove(uri: str) -> None:
    """Delete a committed folder: its manifest first, so that nobody takes the rest for whole."""
    remove_file(join(uri, "manifest.json"))
    clear(uri)
