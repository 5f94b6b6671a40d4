"""Any URI as a file system, and manifests that are committed once.

A job claims its output folder (`run.json`), writes its files, and commits them by one `manifest.json` written last.
A reader trusts the manifest only: what it does not name is not there. Local paths, s3://, gs:// and hf:// behave alike.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from hbt_ray.config import UserError

VERSION = 1  # of every manifest; a reader refuses another


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec file system of `uri` and the path in it.

    Raises:
        UserError: the scheme is unknown or its package is not installed.
    """
    try:
        # no listings cache: other processes write what this one reads
        fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UserError(f"{uri}: {error}") from None
    return fs, path


def arrow_filesystem(uri: str) -> tuple[pa.fs.FileSystem, str]:
    """The same file system for pyarrow and Ray."""
    fs, path = filesystem(uri)
    if is_local(uri):
        return pa.fs.LocalFileSystem(), path
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(fs)), path


def absolute(uri: str) -> str:
    """`uri` in a form that means the same in every process: a local path made absolute, another URI as it is."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


def is_local(uri: str) -> bool:
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def join(uri: str, *parts: str) -> str:
    return "/".join([uri.rstrip("/"), *parts])


def exists(uri: str) -> bool:
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def expand(uri: str, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    """The files that `uri` (a file, a folder or a glob) names, sorted; a folder gives those with one of `suffixes`.

    Raises:
        UserError: nothing is there.
    """
    fs, path = filesystem(uri)
    if any(character in path for character in "*?["):
        found = [name for name in fs.glob(path) if fs.isfile(name)]
    elif fs.isdir(path):
        found = [name for name in fs.find(path) if name.endswith(suffixes)]
    else:
        found = [path] if fs.exists(path) else []
    if not found:
        raise UserError(f"no input at {uri}")
    return sorted(name if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(name) for name in found)


@contextlib.contextmanager
def create(uri: str) -> Iterator[Any]:
    """A new binary file that is whole or absent: it gets its name when the block ends without an exception."""
    fs, path = filesystem(uri)
    local = isinstance(fs, LocalFileSystem)
    if local:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(f"{path}.tmp-{uuid.uuid4().hex}")
    else:
        descriptor, name = tempfile.mkstemp(prefix="hbt_ray-")
        os.close(descriptor)
        temporary = Path(name)
    try:
        with temporary.open("wb") as file:
            yield file
        if local:
            temporary.replace(path)
        else:
            fs.put_file(str(temporary), path)
    finally:
        temporary.unlink(missing_ok=True)


def write(uri: str, fill: Callable[[Any], None]) -> None:
    """Write one file that is whole or absent: `fill` gets a binary file open for writing."""
    with create(uri) as file:
        fill(file)


def write_bytes(uri: str, data: bytes) -> None:
    write(uri, lambda file: file.write(data))


def read_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    data: bytes = fs.cat_file(path)
    return data


def read_ranges(ranges: Sequence[tuple[str, int, int | None]]) -> list[bytes]:
    """Bytes start … stop (None: the end) of each (file, start, stop), all on one file system.

    Object stores are asked for all of them together.
    """
    if not ranges:
        return []
    fs = filesystem(ranges[0][0])[0]
    paths, starts, stops = (list(column) for column in zip(*ranges, strict=True))
    found: list[bytes] = fs.cat_ranges([fs._strip_protocol(path) for path in paths], starts, stops, on_error="raise")
    return found


def sizes(uri: str) -> dict[str, int]:
    """Name and length [bytes] of each file directly in the folder `uri`, by one listing; none when it is not there."""
    fs, path = filesystem(uri)
    try:
        found = fs.ls(path, detail=True, refresh=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rsplit("/", 1)[-1]: int(entry["size"]) for entry in found if entry["type"] == "file"}


def size(uri: str) -> int:
    """Length of the file [bytes]."""
    fs, path = filesystem(uri)
    return int(fs.size(path))


def version_of(uri: str) -> list[Any]:
    """What changes when the file does: its name, length and time or tag."""
    fs, path = filesystem(uri)
    about = fs.info(path)
    stamp = next(
        (str(about[key]) for key in ("ETag", "etag", "blob_id", "mtime", "LastModified") if about.get(key)), ""
    )
    return [uri, about["size"], stamp]


def model_name(name: str) -> str:
    """A model's or tokenizer's name for every process: a local folder made absolute, a hub id or URI as it is."""
    return absolute(name) if os.path.isdir(name) else name


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(uri: str) -> Any:
    try:
        return json.loads(read_bytes(uri))
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise UserError(f"{uri} is not a JSON file") from None


def write_parquet(uri: str, table: pa.Table, row_group_rows: int | None = None) -> None:
    """Write `table` as zstd parquet, whole or absent."""
    write(uri, lambda file: pq.write_table(table, file, row_group_size=row_group_rows, compression="zstd"))


def read_parquet(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read one parquet file.

    Raises:
        UserError: the file is missing, truncated or no parquet.
    """
    fs, path = arrow_filesystem(uri)
    with parquet_errors(uri):
        return pq.read_table(path, filesystem=fs, columns=columns)


@contextlib.contextmanager
def parquet_errors(uri: str) -> Iterator[None]:
    """Turns what pyarrow raises on a missing or damaged parquet file into a UserError that names it.

    A fault of the storage (no access, a broken connection) stays what it is.
    """
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise UserError(f"{uri} is not a whole parquet file: {' '.join(str(error).split())}") from None


def clear(uri: str) -> None:
    """Delete the folder `uri` if it is there."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def remove(uri: str) -> None:
    """Delete a committed folder: its manifest first, so that nobody takes the rest for whole."""
    fs, path = filesystem(uri)
    fs.rm_file(join(path, "manifest.json"))
    fs.rm(path, recursive=True)


def upload(folder: str | Path, uri: str) -> None:
    """Copy every file under the local `folder` to `uri`, each whole or absent."""
    for name in sorted(Path(folder).rglob("*")):
        if name.is_file():
            write_bytes(join(uri, name.relative_to(folder).as_posix()), name.read_bytes())


def local_copy(uri: str) -> str:
    """A local folder with the files of the folder `uri`: itself when it is local, else a temporary copy."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    folder = tempfile.mkdtemp(prefix="hbt_ray-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    fs.get(path.rstrip("/") + "/", folder + "/", recursive=True)
    return folder


def fingerprint(value: Any) -> str:
    """A short stable hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def claim(out: str, job: str, settings: Mapping[str, Any]) -> None:
    """Take the folder `out` for one run, or find that it already holds this very run.

    Raises:
        UserError: the folder holds another run; the line names a setting that differs.
    """
    settings = json.loads(json.dumps({"job": job, **settings}))
    uri = join(out, "run.json")
    if not exists(uri):
        write_json(uri, settings)
    there = read_json(uri)  # also what was just written: of two jobs that start together, one finds the other's
    for key in sorted({*settings, *there}):
        if settings.get(key) != there.get(key):
            raise UserError(
                f"{out} already holds another run: {key} is {there.get(key)!r} there and {settings.get(key)!r} here"
            )


def commit(out: str, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Make everything written under `out` visible: write `manifest.json`, last and at once. Returns the manifest."""
    manifest = {"kind": kind, "version": VERSION, **body}
    manifest["checksum"] = fingerprint(manifest)
    write_json(join(out, "manifest.json"), manifest)
    return manifest


def committed(out: str) -> bool:
    """True when the folder's manifest has been written: its run is complete."""
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
