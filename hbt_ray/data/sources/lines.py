"""Tables as text, row by row: JSON lines, and values separated by comma or tab, compressed or not.

The first line of `.csv` and `.tsv` names the columns, unless `--columns` names all of them by number from 1: then there
is no such line. In `.csv` a value may be quoted; in `.tsv` a quote is a character like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from hbt_ray.config import UserError
from hbt_ray.config.base import quoted
from hbt_ray.storage.text_files import json_lines, read_csv, read_lines

COMPRESSED = ("", ".gz", ".xz", ".zst")
JSON = tuple(f"{ending}{packed}" for ending in (".jsonl", ".ndjson", ".json") for packed in COMPRESSED)
CSV = tuple(f".csv{packed}" for packed in COMPRESSED)
TSV = tuple(f".tsv{packed}" for packed in COMPRESSED)


class Row(NamedTuple):
    """A row of a file: its number from 0, its values by column, and what is wrong with it."""

    number: int
    values: dict[str, Any]
    problem: str | None = None


def rows(uri: str, named: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a file.

    Args:
        named: the columns that `--columns` names.

    Raises:
        UserError: the file is missing or truncated, or its first line names a column twice.
    """
    if uri.endswith((*CSV, *TSV)):
        return _separated(uri, bool(named) and all(name.isdecimal() for name in named))
    return _json(uri)


def names(uri: str, named: Collection[str] = ()) -> list[str]:
    """The columns of a file, as its first row has them; none of a file without rows.

    Raises:
        UserError: as `rows`.
    """
    with closing(rows(uri, named)) as found:  # type: ignore[type-var]
        return next((list(row.values) for row in found if not row.problem), [])


def _json(uri: str) -> Iterator[Row]:
    for number, line in json_lines(uri):
        yield Row(number, {}, "no JSON object") if line is None else Row(number, line)


def _separated(uri: str, numbered: bool) -> Iterator[Row]:
    columns: list[str] = []
    for number, values in enumerate(read_csv(uri) if uri.endswith(CSV) else _tabbed(uri), -1):
        if not columns:
            columns = [str(place) for place in range(1, len(values) + 1)] if numbered else values
            if twice := [name for name, count in Counter(columns).items() if count > 1]:
                raise UserError(f"{uri}: its first line, which names the columns, has {quoted(twice[0])} twice")
            if not numbered:
                continue
        row = number + 1 if numbered else number
        if len(values) != len(columns):
            yield Row(row, {}, f"wrong number of columns: {len(values)}, not {len(columns)}")
        else:
            yield Row(row, dict(zip(columns, values, strict=True)))


def _tabbed(uri: str) -> Iterator[list[str]]:
    for line in read_lines(uri):
        if line.strip():
            yield line.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\t")
