"""Reading text files of public datasets: JSON, lines and tables, plain, .gz, .xz or .zst, from any URI.

A byte order mark at the beginning, which editors put there, is passed over.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.parsing import JSON_BYTES, parse_json
from hbt_ray.storage.uris import filesystem

LONGEST_LINE = 2**25  # bytes, of which some thousand documents would have room; as JSON it takes up to 27 times as much


def load_json(uri: str) -> Any:
    """The JSON value in the file.

    Raises:
        UserError: the file is missing, truncated, too large or not JSON.
    """
    with opened(uri) as file:
        data = file.read(JSON_BYTES + 1)
    try:
        return parse_json(data)
    except ValueError as error:
        raise UserError(f"{uri} {error}") from None


def json_lines(uri: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Line number (from 0) and value of each line of a JSON-lines file; None for a line that is no JSON object, or too
    long. Empty lines are passed over.

    The file is read as the lines are asked for.

    Raises:
        UserError: the file is missing or truncated.
    """
    with opened(uri) as file:
        for number, line in enumerate(lines(file)):
            if line is not None and not line.strip():
                continue
            try:
                value = None if line is None else parse_json(line)
            except ValueError:
                value = None
            yield number, value if isinstance(value, dict) else None


def lines(file: Any) -> Iterator[bytes | None]:
    """The lines of an open file, each with its end; None for one longer than LONGEST_LINE, which is not held."""
    for line in iter(partial(file.readline, LONGEST_LINE), b""):
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
        yield None


def read_lines(uri: str) -> Iterator[bytes]:
    """The lines of a file, each with its end.

    Raises:
        UserError: the file is missing or truncated, or a line is too long.
    """
    with opened(uri) as file:
        for number, line in enumerate(lines(file), start=1):
            if line is None:
                raise too_long(uri, number)
            yield line


def read_csv(uri: str) -> Iterator[list[str]]:
    """The rows of a table in which commas divide values, which may be quoted; half characters are kept. Empty lines are
    passed over.

    Raises:
        UserError: the file is missing or truncated, or a row is no such row or too long.
    """
    csv.field_size_limit(LONGEST_LINE)  # also of a quoted value of many lines
    with opened(uri) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        reader = csv.reader(_whole(text, uri), strict=True)
        try:
            yield from (values for values in reader if values)
        except csv.Error as error:
            raise UserError(f"{uri} line {reader.line_num}: {error}") from None
        text.detach()  # or it would close what it does not own


def _whole(text: io.TextIOWrapper, uri: str) -> Iterator[str]:
    for number, line in enumerate(iter(partial(text.readline, LONGEST_LINE), ""), start=1):
        if len(line) == LONGEST_LINE:
            raise too_long(uri, number)
        yield line


def too_long(uri: str, number: int) -> UserError:
    """The error of a line, numbered from 1, that is longer than LONGEST_LINE."""
    return UserError(f"{uri} line {number} is longer than {LONGEST_LINE:,} bytes")


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
