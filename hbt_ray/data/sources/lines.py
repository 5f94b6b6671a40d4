"""Tables as text, row by row: JSON lines, and values separated by comma or tab, compressed or not.

The first line of `.csv` and `.tsv` names the columns, unless `--columns` names all of them by number from 1: then there
is no such line. In `.csv` a value may be quoted; in `.tsv` a quote is a character like any other.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from hbt_ray.config import UserError
from hbt_ray.storage.text_files import json_lines, opened

COMPRESSED = ("", ".gz", ".xz", ".zst")
JSON = tuple(f"{ending}{packed}" for ending in (".jsonl", ".ndjson", ".json") for packed in COMPRESSED)
CSV = tuple(f".csv{packed}" for packed in COMPRESSED)
TSV = tuple(f".tsv{packed}" for packed in COMPRESSED)
LONGEST = 2**30  # value in a .csv file [characters]; the module's own bound is 131,072


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
    with opened(uri) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="" if uri.endswith(CSV) else "\n")
        lines = (
            _quoted(text, uri)
            if uri.endswith(CSV)
            else (line.rstrip("\r\n").split("\t") for line in text if line.strip())
        )
        columns: list[str] = []
        for number, values in enumerate(lines, -1):
            if not columns:
                columns = [str(place) for place in range(1, len(values) + 1)] if numbered else values
                if twice := [name for name in columns if columns.count(name) > 1]:
                    raise UserError(f"{uri}: its first line, which names the columns, has {twice[0]!r} twice")
                if not numbered:
                    continue
            row = number + 1 if numbered else number
            if len(values) != len(columns):
                yield Row(row, {}, f"wrong number of columns: {len(values)}, not {len(columns)}")
            else:
                yield Row(row, dict(zip(columns, values, strict=True)))
        text.detach()  # or it would close what it does not own


def _quoted(text: io.TextIOWrapper, uri: str) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST)
    reader = csv.reader(text, strict=True)
    try:
        yield from (values for values in reader if values)
    except csv.Error as error:
        raise UserError(f"{uri} line {reader.line_num}: {error}") from None
