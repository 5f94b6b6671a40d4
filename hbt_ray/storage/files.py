"""Files that are whole or absent: bytes, JSON and parquet, on any file system."""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from hbt_ray.config import UserError
from hbt_ray.parsing import JSON_BYTES, parse_json
from hbt_ray.storage.faults import full, named
from hbt_ray.storage.uris import arrow_filesystem, below, delete_below, filesystem, join


@contextlib.contextmanager
def create(uri: str) -> Iterator[Any]:
    """A new binary file that is whole or absent: it gets its name when the block ends without an exception."""
    fs, path = filesystem(uri)
    local = isinstance(fs, LocalFileSystem)
    if local:
        with named(uri, writes=True):
            _make_folder(Path(path).parent)
        temporary = Path(f"{path}.tmp-{uuid.uuid4().hex}")
    else:
        descriptor, name = tempfile.mkstemp(prefix="hbt_ray-")
        os.close(descriptor)
        temporary = Path(name)
    try:
        with named(uri, writes=True):
            opened = temporary.open("wb")
        with full(uri), opened as file:
            yield file
        with named(uri, writes=True):
            if local:
                temporary.replace(path)
            else:
                fs.put_file(str(temporary), path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file, there or on the way
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def write(uri: str, fill: Callable[[Any], None]) -> None:
    """Write one file that is whole or absent: `fill` gets a binary file open for writing."""
    with create(uri) as file:
        fill(file)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file of these bytes, whole or absent."""
    write(uri, lambda file: file.write(data))


def write_new(uri: str, data: bytes) -> None:
    """Write a file that must not be there yet: of several that try, one does.

    Raises:
        FileExistsError: it is there.
    """
    with named(uri, writes=True):
        _write_new(uri, data)


def _write_new(uri: str, data: bytes) -> None:
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        _make_folder(Path(path).parent)
        temporary = Path(f"{path}.tmp-{uuid.uuid4().hex}")
        temporary.write_bytes(data)
        try:
            os.link(temporary, path)  # whole at once, and never over another
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with open(path, "xb") as file:
                file.write(data)
        finally:
            temporary.unlink()
        return
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        pass
    except OSError as error:
        if "ConditionalRequestConflict" in str(error):  # another one's write was under way
            return _write_new(uri, data)
        if "Precondition" not in str(error):
            raise
    else:
        return
    # a request that was sent twice finds what it wrote itself
    if fs.cat_file(path) != data:
        raise FileExistsError(uri)


def read_bytes(uri: str) -> bytes:
    """The bytes of the file.

    Raises:
        FileNotFoundError: it is not there.
    """
    fs, path = filesystem(uri)
    with named(uri):
        data: bytes = fs.cat_file(path)
    return data


def read_ranges(ranges: Sequence[tuple[str, int, int | None]]) -> list[bytes]:
    """The bytes start … stop (None: the end) of each (file, start, stop), all on one file system.

    Object stores are asked for all of them together.
    """
    if not ranges:
        return []
    fs = filesystem(ranges[0][0])[0]
    paths, starts, stops = (list(column) for column in zip(*ranges, strict=True))
    with named(ranges[0][0]):
        found: list[bytes] = fs.cat_ranges(
            [fs._strip_protocol(path) for path in paths], starts, stops, on_error="raise"
        )
    return found


def sizes(uri: str) -> dict[str, int]:
    """The length [bytes] of each file directly in the folder `uri`, by name and one listing; none without a folder."""
    fs, path = filesystem(uri)
    try:
        with named(uri):
            found = fs.ls(path, detail=True, refresh=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rsplit("/", 1)[-1]: int(entry["size"]) for entry in found if entry["type"] == "file"}


def size(uri: str) -> int:
    """The length of the file [bytes]."""
    fs, path = filesystem(uri)
    with named(uri):
        return int(fs.size(path))


def digest(uri: str) -> str:
    """The sha256 of the file.

    Raises:
        UserError: it is not there.
    """
    fs, path = filesystem(uri)
    try:
        with named(uri), fs.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None


def write_json(uri: str, value: Any) -> None:
    """Write the value as indented JSON, whole or absent."""
    write_bytes(uri, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(uri: str) -> Any:
    """The JSON value in the file.

    Raises:
        UserError: the file is not JSON, or larger than any that is written here.
    """
    if size(uri) > JSON_BYTES:
        raise UserError(f"{uri} has more than {JSON_BYTES:,} bytes")
    data = read_bytes(uri)
    try:
        return parse_json(data)
    except ValueError as error:
        raise UserError(f"{uri} {error}") from None


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
def parquet_errors(uri: str, kind: str = "parquet") -> Iterator[None]:
    """Turn what pyarrow raises within the block, on a missing or damaged file of this kind, into a line that
    names it.

    A broken connection stays what it is.

    Raises:
        UserError: the file is missing or damaged, or cannot be read for good.
    """
    try:
        with named(uri):
            yield
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None
    except (pa.ArrowException, OSError, KeyError, IndexError) as error:
        lacks_memory = isinstance(error, MemoryError)
        if lacks_memory or isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise UserError(f"{uri} is not a whole {kind} file: {' '.join(str(error).split())}") from None


def clear(uri: str) -> None:
    """Delete the folder or file `uri` if it is there."""
    with named(uri):
        delete_below(*filesystem(uri))


def remove_file(uri: str) -> None:
    """Delete one file if it is there."""
    fs, path = filesystem(uri)
    with contextlib.suppress(FileNotFoundError), named(uri):
        fs.rm_file(path)


def upload(folder: str | Path, uri: str) -> None:
    """Copy every file under the local `folder` to `uri`, each whole or absent."""
    for name in sorted(Path(folder).rglob("*")):
        if name.is_file():
            write_bytes(join(uri, name.relative_to(folder).as_posix()), name.read_bytes())


def local_copy(uri: str) -> str:
    """A local folder with the files of the folder `uri`: itself when it is local, else a temporary copy.

    Raises:
        UserError: a file's name leads out of the folder.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return path
    with named(uri):
        names = {name: below(path, name) for name in fs.find(path)}
    folder = tempfile.mkdtemp(prefix="hbt_ray-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, relative in names.items():
        target = Path(folder, relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        with named(uri):
            fs.get_file(name, str(target))
    return folder
