"""Dolly: instructions that people wrote, their answers, and for some a text to answer from.

JSON lines of `instruction`, `context` (empty where there is none), `response` and `category`, in English
(huggingface.co/datasets/databricks/databricks-dolly-15k); `--language` is that of a translation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import parquet, rows
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.sources.lines import Row

NEEDED = ("instruction", "response")
PUBLISHED = "en"


def read_dolly(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """A record of the instruction and its response, and one of the instruction and its context where there is one.

    Raises:
        UserError: the file is missing or truncated, or is of another format.
    """
    sides = rows.languages_of(piece, layout, default=PUBLISHED)
    return records.tables(
        record for row in rows.read_rows(piece, NEEDED, ("context",)) for record in _records(row, layout.name, sides)
    )


def _records(row: Row, source: str, sides: tuple[str, str]) -> Iterator[dict[str, Any]]:
    if row.problem:
        yield rows.bad(row)
        return
    for passage in (row.values["response"], *([row.values["context"]] if row.values.get("context") else ())):
        yield {
            "row": row.number,
            "source": source,
            "query_lang": sides[0],
            "passage_lang": sides[1],
            "query": row.values["instruction"],
            "passage": passage,
        }


DOLLY = Source(read_dolly, rows.SUFFIXES, parquet.row_groups, keys=("instruction", "context", "response"))
