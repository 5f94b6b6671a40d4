"""Training data of FlagEmbedding: JSON lines of `query`, `pos` and `neg`, with scores where a teacher has given some.

`{"query": str, "pos": [str], "neg": [str], "pos_scores": [float], "neg_scores": [float], "prompt": str}`, of which only
`query` and `pos` are needed, in files named `.jsonl` or `.json` (github.com/FlagOpen/FlagEmbedding, in
examples/finetune/embedder). A row's `prompt` stands before its query with nothing between, as the format `{}{}` has it
that FlagEmbedding uses unless told otherwise.
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

NEEDED = ("query", "pos")
OPTIONAL = ("neg", "pos_scores", "neg_scores", "prompt")


def read_flagembedding(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a positive, with all negatives of its row, and their scores where all of them have one.

    The records of a row have one query and no group. A row without positives, or with lists that do not fit, is a
    record with a problem.

    Raises:
        UserError: the file is missing or truncated, is of another format, or nothing tells its language.
    """
    languages = rows.languages_of(piece, layout)
    return records.tables(
        record for row in rows.read_rows(piece, NEEDED, OPTIONAL) for record in _records(row, layout.name, languages)
    )


def _records(row: Row, source: str, languages: tuple[str, str]) -> Iterator[dict[str, Any]]:
    query, positives, negatives = row.values.get("query"), row.values.get("pos"), row.values.get("neg") or []
    if row.problem or not isinstance(positives, list) or not isinstance(negatives, list):
        yield rows.bad(row)
        return
    if not positives:
        yield rows.bad(row, "passage is empty: the row has no positive")
        return
    scores, others = (row.values.get(name) or [] for name in ("pos_scores", "neg_scores"))
    if (scores or others) and (len(scores), len(others)) != (len(positives), len(negatives)):
        yield rows.bad(row, f"{records.SCORE_COUNT}: {len(scores)} and {len(others)} scores")
        return
    prompt = row.values.get("prompt") or ""
    for place, positive in enumerate(positives):
        yield {
            "row": row.number,
            "source": source,
            "query_lang": languages[0],
            "passage_lang": languages[1],
            "query": f"{prompt}{query}" if isinstance(query, str) else query,
            "passage": positive,
            "negatives": negatives,
            "scores": [scores[place], *others] if scores else [],
        }


FLAGEMBEDDING = Source(read_flagembedding, rows.SUFFIXES, parquet.row_groups, keys=NEEDED)
