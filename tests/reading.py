"""Reading a small file as `prepare` does: by the format's name, and checked."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources.layout import Layout
from hbt_ray.data.sources.public import PUBLIC


def read(source: str, file: Path, language: str | None = None, **told: Any) -> records.Checked:
    """The file's records, good and bad, for the input `data` in the language."""
    layout = Layout("data", language, language, **told)
    tables = list(PUBLIC[source].read(FilePiece(str(file)), layout))
    return records.check_records(pa.concat_tables(tables or [records.RECORDS.empty_table()]), str(file))


def columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    """The values of some columns, row by row."""
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def write_lines(file: Path, *rows: Mapping[str, Any] | str) -> Path:
    """JSON lines of the rows, or lines as they are, compressed as the name says; in a folder made for them."""
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file
