"""Translations in one column, as the hub has WMT and OPUS (wmt/wmt19, Helsinki-NLP/opus-100).

A row's `translation` is `{"de": str, "en": str}`, in parquet or JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import parquet, rows
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.sources.translations import sentences


def read_wmt(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record of bitext for each language that a row's `translation` has a text in.

    Raises:
        UserError: the file is missing or truncated, is of another format, or a language is given though rows tell it.
    """
    rows.refuse_languages(piece, layout)
    return records.tables(
        record
        for row in rows.read_rows(piece, ("translation",))
        for record in sentences(row, row.values.get("translation"), layout.name)
    )


WMT = Source(read_wmt, rows.SUFFIXES, parquet.row_groups, keys=("translation",))
