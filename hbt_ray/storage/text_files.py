"""Reading text files of public datasets: JSON and JSON lines, plain, .gz, .xz or .zst, from any URI.

A byte order mark at the beginning, which editors put there, is passed over.
"""

from __future__ import annotations

import codecs
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
            return json.loads(file.read().decode())
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
                value = json.loads(line.decode())  # of bytes, json takes half a surrogate pair
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


def id_of(value: Any) -> str | None:
    """The id that a JSON value is: a string, or a whole number, also one that is written as a float; else None."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


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
    """The file as it was before it was compressed, from behind a byte order mark on; its positions count the mark.

    Raises:
        UserError: the file is missing or truncated, also when reading within the block finds it so.
    """
    fs, path = filesystem(uri)
    try:
        with fs.open(path, "rb") as raw:
            if uri.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw) as file:
                    yield _after_mark(file)
            elif uri.endswith(".xz"):
                with lzma.LZMAFile(raw) as file:
                    yield _after_mark(file)
            elif uri.endswith(".zst"):
                with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as file:
                    yield _after_mark(io.BufferedReader(file))
            else:
                yield _after_mark(raw if hasattr(raw, "peek") else io.BufferedReader(raw))
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a fault of the storage
        raise UserError(f"{uri} is truncated or not compressed as its name says: {error}") from None


def _after_mark(file: Any) -> Any:
    if file.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    return file
