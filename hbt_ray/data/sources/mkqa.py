"""MKQA: questions put to a search engine, in 26 languages (github.com/apple/ml-mkqa, `dataset/mkqa.jsonl.gz`).

JSON lines of `{"example_id": int, "query": str, "queries": {"de": str, "zh_cn": str, …}, "answers": {…}}`. The answers
are names, numbers and dates rather than passages, and are not read: what there is to learn from are the translations.
MKQA is an evaluation task, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import rows
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.sources.translations import sentences

NEEDED = ("example_id", "queries")


def read_mkqa(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record of bitext for each language of a question, in the group of its `example_id`.

    Raises:
        UserError: the file is missing or truncated, is of another format, or a language is given though rows tell it.
    """
    rows.refuse_languages(piece, layout)
    return records.tables(
        record
        for row in rows.read_rows(piece, NEEDED)
        for record in sentences(row, row.values.get("queries"), layout.name, row.values.get("example_id"))
    )


MKQA = Source(read_mkqa, rows.SUFFIXES, keys=NEEDED)
