"""SWIM-IR: passages of the Wikipedia with questions that a language model wrote to them.

Rows of `_id`, `lang` (English name), `code` (its tag), `query`, `title` and `text`, as JSON lines or in the hub's
parquet (github.com/google-research-datasets/swim-ir; nthakur/swim-ir-monolingual, nthakur/swim-ir-cross-lingual). In
the monolingual part `code` is the language of both. In the cross-lingual parts it is the query's, and the passage is
English, as the published example has it (the description beside it says the reverse).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import parquet, rows
from hbt_ray.data.sources.layout import Layout, Source

NEEDED = ("code", "query", "text")


def read_swim_ir(piece: FilePiece, layout: Layout, passages: str | None) -> Iterator[pa.Table]:
    """One record a row, the title in front of the text.

    Args:
        passages: language of the passages, when it is not the row's.

    Raises:
        UserError: the file is missing or truncated, is of another format, or a language is given though rows tell it.
    """
    rows.refuse_languages(piece, layout)
    return records.tables(
        rows.bad(row)
        if row.problem
        else {
            "row": row.number,
            "source": layout.name,
            "query_lang": row.values["code"],
            "passage_lang": passages or row.values["code"],
            "query": row.values["query"],
            "passage": rows.titled(row.values.get("title"), row.values["text"]),
        }
        for row in rows.read_rows(piece, NEEDED, ("title",))
    )


SWIM_IR = Source(partial(read_swim_ir, passages="en"), rows.SUFFIXES, parquet.row_groups)
SWIM_IR_MONOLINGUAL = Source(partial(read_swim_ir, passages=None), rows.SUFFIXES, parquet.row_groups)
