"""Reading text files of public datasets: JSON and JSON lines, plain, .gz, .xz or .zst, from any URI."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.storage.uris import filesystem


def load_json(uri: str) -> Any:
    """The JSON value in the file.

    Raises:
        UserError: the file is missing, truncated or not JSON.
    """
    try:
        with opened(uri) as file:
            return json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{uri} is not a JSON file: {error}") from None


def json_lines(uri: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Line number (from 0) and value of each line of a JSON-lines file; None for a line that is no JSON object. Empty
    lines are passed over.

    The file is read as the lines are asked for.

    Raises:
        UserError: the file is missing or truncated.
    """
    with opened(uri) as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (UnicodeDecodeError, json.JSONDecodeError):
                value = None
            yield number, value if isinstance(value, dict) else None


def is_encodable(text: str) -> bool:
    """Whether the text is one; JSON may also hold half a surrogate pair."""
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


def is_utf8(value: bytes) -> bool:
    """Whether the bytes are a text in UTF-8."""
    try:
        value.decode()
        return True
    except UnicodeDecodeError:
        return False


def stem(uri: str) -> str:
    """The file's name without folder and endings: `de` for `s3://b/de.json.xz`."""
    return uri.rstrip("/").rsplit("/", 1)[-1].split(".")[0]


def folder(uri: str) -> str:
    """The name of the file's folder, which names the source of files that do not: `squad` for `s3://b/squad/de.json`."""
    parts = uri.split("://")[-1].rstrip("/").split("/")
    return parts[-2] if len(parts) > 1 and parts[-2] else stem(uri)


@contextlib.contextmanager
def opened(uri: str) -> Iterator[Any]:
    """The file as it was before it was compressed.

    Raises:
        UserError: the file is missing or truncated, also when reading within the block finds it so.
    """
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as raw:
            if uri.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw) as file:
                    yield file
            elif uri.endswith(".xz"):
                with lzma.LZMAFile(raw) as file:
                    yield file
            elif uri.endswith(".zst"):
                with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as file:
                    yield io.BufferedReader(file)
            else:
                yield raw
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a fault of the storage
        raise UserError(f"{uri} is truncated or not compressed as its name says: {error}") from None
