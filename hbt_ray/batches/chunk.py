"""A chunk: some consecutive steps of the plan, read from the store once and cut into one slice a rank."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray.batches.plan import Batches, Plan
from hbt_ray.data import lists
from hbt_ray.data.streams import StreamStore

# Pairs read at once, if that is a step or more: what Ray does for a chunk takes as long as reading thousands.
CHUNK_PAIRS = 65536
CHUNK_TOKENS = 2**24
_NO_NEGATIVES = pa.array([[]], pa.list_(pa.list_(pa.int32())))


class Slice(NamedTuple):
    """One rank's part of a global batch.

    Attributes:
        step: number of the global batch.
        stratum: name of the batch's stratum in the plan.
        query_languages, passage_languages: number of pairs in the whole global batch, by language.
        pairs: one row a pair of this rank: `group` (int64), `source`, `query_lang`, `passage_lang` (dictionaries of
            strings), `query`, `passage` (list<int32>, no special tokens), `negatives` (list<list<int32>>).
    """

    step: int
    stratum: str
    query_languages: dict[str, int]
    passage_languages: dict[str, int]
    pairs: pa.Table


def steps_per_chunk(store: StreamStore, batch_size: int) -> int:
    """The number of steps in a chunk that is large for Ray and small for memory."""
    pairs = sum(stream.rows * len(stream.languages) for stream in store.streams)
    tokens = sum(sum(of_language) for stream in store.streams for of_language in stream.tokens.values())
    return max(1, int(min(CHUNK_PAIRS, CHUNK_TOKENS * pairs / max(tokens, 1))) // batch_size)


def read_chunk(store: StreamStore, plan: Plan, start: int, stop: int, world_size: int) -> list[pa.Buffer]:
    """The slices of steps start … stop for every rank: one Arrow IPC value a rank, made for `slices`.

    Raises:
        UserError: a stream file is missing or damaged.
    """
    batches = plan.batches(start, stop)
    columns = _gather(store, plan, batches)
    steps = [
        {
            "stratum": plan.strata[stratum].name,
            "query_languages": _counts(plan, batches.query_languages[number]),
            "passage_languages": _counts(plan, batches.passage_languages[number]),
        }
        for number, stratum in enumerate(batches.strata)
    ]
    positions = np.arange(batches.rows.size).reshape(len(steps), world_size, -1)
    values = []
    for rank in range(world_size):
        mine = positions[:, rank].reshape(-1)
        about = {"rank": rank, "world_size": world_size, "start": start, "steps": steps}
        pairs = pa.table(
            {name: lists.take(source, index[mine]) for name, (source, index) in columns.items()},
            metadata={"slices": json.dumps(about)},
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pairs.schema) as writer:
            writer.write_table(pairs)
        values.append(sink.getvalue())
    return values


def slices(value: pa.Buffer, rank: int, world_size: int) -> Iterator[Slice]:
    """The slices in one value, which must be this rank's.

    Raises:
        RuntimeError: it is another rank's: the shuffler broke its promise.
    """
    pairs = pa.ipc.open_stream(value).read_all()
    about = json.loads(pairs.schema.metadata[b"slices"])
    if (about["rank"], about["world_size"]) != (rank, world_size):
        raise RuntimeError(
            f"rank {rank} of {world_size} was handed the slices of rank {about['rank']} of {about['world_size']} "
            f"for steps from {about['start']}"
        )
    rows = pairs.num_rows // len(about["steps"])
    for number, step in enumerate(about["steps"]):
        yield Slice(about["start"] + number, **step, pairs=pairs.slice(number * rows, rows))


def _gather(store: StreamStore, plan: Plan, batches: Batches) -> dict[str, tuple[pa.Array, np.ndarray]]:
    """The values of every column of `Slice.pairs` in the order they were read, and for each row of the batches, one
    after the other, the place of its value among them, int64 [steps * batch_size].

    Each stream is read once, only in the languages drawn.
    """
    streams, rows = batches.streams.ravel(), batches.rows.ravel()
    languages = {"query": batches.query_languages.ravel(), "passage": batches.passage_languages.ravel()}
    pieces: dict[str, list[pa.Array]] = {"group": [], "query": [], "passage": [], "negatives": []}
    index = {name: np.empty(len(rows), dtype=np.int64) for name in pieces}
    sizes = dict.fromkeys(pieces, 0)
    order = np.argsort(streams, kind="stable")
    found, first = np.unique(streams[order], return_index=True)
    for stream, positions in zip(found, np.split(order, first[1:]), strict=True):
        drawn = _drawn(store, plan, int(stream), positions, languages)
        there = [(column, rows[positions[at]]) for _, column, at in drawn if column is not None]
        read = iter(store.read_each(int(stream), there))
        for name, column, at in drawn:
            values, place = next(read) if column is not None else (_NO_NEGATIVES, np.int64(0))
            pieces[name].append(values)
            index[name][positions[at]] = sizes[name] + place
            sizes[name] += len(values)
    gathered: dict[str, Any] = {name: (pa.concat_arrays(pieces[name]), index[name]) for name in pieces}
    names = pa.array(plan.languages, pa.string()).dictionary_encode()
    sources = sorted({stream.source for stream in store.streams})
    of_stream = np.array([sources.index(stream.source) for stream in store.streams])
    sides = {f"{side}_lang": (names, drawn_languages) for side, drawn_languages in languages.items()}
    source = pa.array(sources, pa.string()).dictionary_encode(), of_stream[streams]
    return {"group": gathered.pop("group"), "source": source, **sides, **gathered}


def _drawn(
    store: StreamStore, plan: Plan, stream: int, positions: np.ndarray, languages: dict[str, np.ndarray]
) -> list[tuple[str, str | None, np.ndarray]]:
    """What to read of a stream: column of the slice, column of the stream (None: it has none), and for which of the
    positions."""
    everywhere = np.arange(len(positions))
    drawn: list[tuple[str, str | None, np.ndarray]] = [("group", "group", everywhere)]
    roles: tuple[Literal["query", "passage", "negatives"], ...] = ("query", "passage", "negatives")
    for role in roles:
        of_role = languages["query" if role == "query" else "passage"][positions]
        for language in np.unique(of_role):
            column = store.streams[stream].column(role, plan.languages[language])
            drawn.append((role, column, np.flatnonzero(of_role == language)))
    return drawn


def _counts(plan: Plan, languages: np.ndarray) -> dict[str, int]:
    counts = np.bincount(languages, minlength=len(plan.languages))
    return {plan.languages[language]: int(counts[language]) for language in np.flatnonzero(counts)}
