"""Formats that `prepare` reads, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import jsonl, parquet, squad, world_facts


@dataclass(frozen=True)
class Source:
    """A format of training pairs.

    Attributes:
        read: function of a piece of a file, and the language of files that do not tell theirs, to batches of unchecked
            records, tables of the schema RECORDS.
        suffixes: endings of the files that a folder is searched for; none: the source is built in and has no files.
        row_groups: function of a file to the size of each of its row groups [bytes]; None: a file is read as a whole.
    """

    read: Callable[[FilePiece, str | None], Iterator[pa.Table]]
    suffixes: tuple[str, ...]
    row_groups: Callable[[str], tuple[int, ...]] | None = None


def _world_facts(piece: FilePiece, language: str | None) -> Iterator[pa.Table]:
    yield records.from_columns(world_facts.fact_rows("train"), records.PARALLEL, 0, piece.uri, piece.uri)


SOURCES: dict[str, Source] = {
    "pairs": Source(parquet.read_pairs, (".parquet",), parquet.row_groups),
    "parallel": Source(parquet.read_parallel, (".parquet",), parquet.row_groups),
    "squad": Source(squad.read_squad, (".json", ".json.gz", ".json.xz", ".parquet")),
    "lareqa": Source(squad.read_lareqa_pairs, (".json", ".json.gz", ".json.xz")),
    "jsonl": Source(jsonl.read_jsonl, (".jsonl", ".jsonl.gz", ".jsonl.xz")),
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
