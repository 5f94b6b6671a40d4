"""Stores for tests of the plan: a manifest and an index alone."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.data.alignment import INDEX, INDEX_FILE, index_fingerprint
from hbt_ray.data.streams import StreamStore

Layout = list[tuple[str, list[str], int]]  # groups of a kind in these languages, and how many
SOURCES = {"pairs": "made", "bitext": "other", "cross-lingual": "other"}


def manifest_only(
    folder: Path,
    layout: Layout,
    row_group_rows: int = 8,
    lengths: tuple[list[int], list[int]] = ([], []),
    tokens: int = 0,
    scored: bool = False,
) -> StreamStore:
    """A store without data: all that a plan needs. All streams have the same lengths and tokens; if `scored`, all rows
    that can have scores have them."""
    rows: dict[tuple[str, str, str], int] = {}
    shared: dict[tuple[tuple[str, str, str], ...], int] = {}
    for kind, languages, groups in layout:
        both = [tuple(languages)] if kind == "cross-lingual" else [(language, language) for language in languages]
        streams = [(kind, query, passage) for query, passage in both]
        for stream in streams:
            rows[stream] = rows.get(stream, 0) + groups
        for pair in combinations(sorted(streams), 2):
            shared[pair] = shared.get(pair, 0) + groups
    names = sorted(rows)
    places = [((names.index(one), names.index(other)), count) for (one, other), count in shared.items()]
    places += [((number, number), rows[name]) for number, name in enumerate(names)]
    blocks: dict[str, list[Any]] = {name: [] for name in INDEX.names}
    for (left, right), count in sorted(places):
        starts = range(0, count, row_group_rows)
        blocks["left"] += [left] * len(starts)
        blocks["right"] += [right] * len(starts)
        blocks["rows"] += [min(row_group_rows, count - start) for start in starts]
        blocks["key"] += [start * 1000 for start in starts]
        blocks["skip"] += [0] * len(starts)
    index = pa.table(blocks, schema=INDEX)
    storage.write_parquet(storage.join(str(folder), INDEX_FILE), index)
    streams_ = [
        {
            "name": f"{kind}-{query}-{passage}",
            "source": SOURCES[kind],
            "kind": kind,
            "languages": [query, passage],
            "rows": rows[kind, query, passage],
            "files": [],
            "tokens": [tokens, tokens],
            "scored": rows[kind, query, passage] if scored and kind != "bitext" else 0,
            "lengths": {"query": lengths[0], "passage": lengths[1]},
        }
        for kind, query, passage in names
    ]
    body = {
        "seed": 0,
        "row_group_rows": row_group_rows,
        "tokenizer": {"fingerprint": "none"},
        "alignment": {"block_rows": row_group_rows, "fingerprint": index_fingerprint(index)},
        "streams": streams_,
        "counts": {},
    }
    storage.commit(str(folder), "stream store", body)
    return StreamStore(str(folder))
