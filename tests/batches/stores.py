"""Stores for tests of the plan: a manifest alone, or with small real streams."""

from __future__ import annotations

from pathlib import Path

from hbt_ray import storage
from hbt_ray.data.streams import StreamStore

Layout = list[tuple[str, list[str], int]]  # kind, languages, rows of each stream


def manifest_only(
    folder: Path, layout: Layout, row_group_rows: int = 8, lengths: tuple[list[int], list[int]] = ([], [])
) -> StreamStore:
    """A store without data: all that a plan needs. All texts have the same histograms of lengths."""
    streams = [
        {
            "name": f"s{number}",
            "source": "made" if kind == "pairs" else "other",
            "kind": kind,
            "languages": languages,
            "rows": rows,
            "files": [],
            "tokens": {},
            "lengths": {language: {"query": lengths[0], "passage": lengths[1]} for language in languages},
        }
        for number, (kind, languages, rows) in enumerate(layout)
    ]
    body = {"row_group_rows": row_group_rows, "tokenizer": {"fingerprint": "none"}, "streams": streams, "counts": {}}
    storage.commit(str(folder), "stream store", body)
    return StreamStore(str(folder))
