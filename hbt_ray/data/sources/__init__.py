"""Formats that `prepare` reads: each a function from a piece of a file to batches of unchecked records."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import jsonl, parquet, squad, world_facts

# a whole file or, of those in SPLITS, some row groups; language of the file or None -> tables of the schema RECORDS
Read = Callable[[FilePiece, str | None], Iterator[pa.Table]]


def _world_facts(piece: FilePiece, language: str | None) -> Iterator[pa.Table]:
    yield records.from_columns(world_facts.fact_rows("train"), records.PARALLEL, 0, piece.uri, piece.uri)


READERS: dict[str, Read] = {
    "pairs": parquet.read_pairs,
    "parallel": parquet.read_parallel,
    "squad": squad.read_squad,
    "lareqa": squad.read_lareqa_pairs,
    "jsonl": jsonl.read_jsonl,
    "world-facts": _world_facts,
}
SUFFIXES: dict[str, tuple[str, ...]] = {
    "pairs": (".parquet",),
    "parallel": (".parquet",),
    "squad": (".json", ".json.gz", ".json.xz", ".parquet"),
    "lareqa": (".json", ".json.gz", ".json.xz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.xz"),
}
# sources whose files may be cut, with the function that tells where: uri -> size of each row group [bytes]
SPLITS: dict[str, Callable[[str], tuple[int, ...]]] = {"pairs": parquet.row_groups, "parallel": parquet.row_groups}
