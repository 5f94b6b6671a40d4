"""A chunk: some consecutive steps of the plan, read from the store once and cut into one slice a rank."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray.batches.plan import Batch, Plan
from hbt_ray.data.streams import StreamStore

CHUNK_PAIRS = 8192  # pairs read at once; a chunk has at least one step
_NO_NEGATIVES = pa.array([[]], pa.list_(pa.list_(pa.int32())))


class Slice(NamedTuple):
    """One rank's part of a global batch.

    Attributes:
        pairs: one row a pair: `group` (int64), `query_lang`, `passage_lang` (string), `query`, `passage`
            (list<int32>, no special tokens), `negatives` (list<list<int32>>).
    """

    step: int
    stratum: str
    pairs: pa.Table


def steps_per_chunk(batch_size: int) -> int:
    return max(1, CHUNK_PAIRS // batch_size)


def read(store: StreamStore, plan: Plan, start: int, stop: int, world_size: int) -> list[bytes]:
    """The slices of steps start … stop for every rank: one Arrow IPC value a rank, made for `slices`."""
    batches = [plan.batch(step) for step in range(start, stop)]
    pairs = _gather(store, plan, batches)
    rows = plan.config.batch_size // world_size
    values = []
    for rank in range(world_size):
        offsets = np.arange(len(batches))[:, None] * plan.config.batch_size + rank * rows
        mine = pairs.take(pa.array((offsets + np.arange(rows)).reshape(-1)))
        about = {
            "rank": rank,
            "world_size": world_size,
            "start": start,
            "strata": [batch.stratum for batch in batches],
        }
        mine = mine.replace_schema_metadata({"slices": json.dumps(about)}).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, mine.schema) as writer:
            writer.write_table(mine)
        values.append(sink.getvalue().to_pybytes())
    return values


def slices(value: bytes | pa.Buffer, rank: int, world_size: int) -> Iterator[Slice]:
    """The slices in one value, which must be this rank's.

    Raises:
        RuntimeError: it is another rank's: the shuffler broke its promise.
    """
    table = pa.ipc.open_stream(value).read_all()
    about = json.loads(table.schema.metadata[b"slices"])
    if (about["rank"], about["world_size"]) != (rank, world_size):
        raise RuntimeError(
            f"rank {rank} of {world_size} was handed the slices of rank {about['rank']} of {about['world_size']} "
            f"for steps from {about['start']}"
        )
    rows = table.num_rows // len(about["strata"])
    for number, stratum in enumerate(about["strata"]):
        yield Slice(about["start"] + number, stratum, table.slice(number * rows, rows))


def _gather(store: StreamStore, plan: Plan, batches: list[Batch]) -> pa.Table:
    """The pairs of all batches in order; each stream is read once, only in the languages drawn."""
    streams = np.concatenate([batch.streams for batch in batches])
    rows = np.concatenate([batch.rows for batch in batches])
    languages = {
        "query": np.concatenate([batch.query_languages for batch in batches]),
        "passage": np.concatenate([batch.passage_languages for batch in batches]),
    }
    pieces: dict[str, list[pa.Array]] = {"group": [], "query": [], "passage": [], "negatives": []}
    where: dict[str, list[np.ndarray]] = {name: [] for name in pieces}
    for stream in np.unique(streams):
        positions = np.flatnonzero(streams == stream)
        entry = store.streams[stream]
        drawn: list[tuple[str, str | None, np.ndarray]] = [("group", "group", positions)]
        roles: tuple[Literal["query", "passage", "negatives"], ...] = ("query", "passage", "negatives")
        for role in roles:
            of_role = languages["query" if role == "query" else "passage"][positions]
            for language in np.unique(of_role):
                drawn.append((role, entry.column(role, plan.languages[language]), positions[of_role == language]))
        columns = sorted({column for _, column, _ in drawn if column is not None})
        wanted, inverse = np.unique(rows[positions], return_inverse=True)
        table = store.read(int(stream), wanted, columns)
        place = np.empty(len(rows), dtype=np.int64)
        place[positions] = inverse
        for name, column, at in drawn:
            values = table.column(column).combine_chunks() if column is not None else _NO_NEGATIVES
            pieces[name].append(values.take(pa.array(place[at] if column is not None else np.zeros_like(at))))
            where[name].append(at)
    names = np.array(plan.languages, dtype=object)
    gathered = {
        name: pa.concat_arrays(pieces[name]).take(pa.array(np.argsort(np.concatenate(where[name])))) for name in pieces
    }
    return pa.table(
        {
            "group": gathered["group"],
            "query_lang": pa.array(names[languages["query"]], pa.string()),
            "passage_lang": pa.array(names[languages["passage"]], pa.string()),
            "query": gathered["query"],
            "passage": gathered["passage"],
            "negatives": gathered["negatives"],
        }
    )
