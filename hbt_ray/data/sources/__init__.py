"""Formats that `prepare` reads, by name."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.data import columnar, records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import jsonl, squad, world_facts
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.sources.public import PUBLIC
from hbt_ray.data.sources.tabular import TABULAR


def _world_facts(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    yield columnar.from_columns(world_facts.fact_rows("train"), records.PARALLEL, 0, layout.name, piece.uri)


SOURCES: dict[str, Source] = {
    **TABULAR,
    "squad": squad.SQUAD,
    "lareqa": squad.LAREQA,
    "jsonl": jsonl.JSONL,
    **PUBLIC,
    "world-facts": Source(_world_facts, ()),
}


def source_of(name: str) -> Source:
    """The source of this name.

    Raises:
        UserError: there is none.
    """
    if name not in SOURCES:
        raise UserError(f"--source {name} is unknown; known: {', '.join(SOURCES)}")
    return SOURCES[name]
