"""A chunk: some consecutive steps of the plan, read from the store once and cut into one slice a rank.

Of many ranks, each of which takes little of a step, a chunk has more steps, and several tasks share its ranks: what is
handed to a rank at once is then not too small for Ray, and what a task reads not too large for memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hbt_ray.batches.dealing import deal
from hbt_ray.batches.plan import MIX_ROWS, Batches, Plan
from hbt_ray.batches.wanted import PLAIN, Wanted, column_of, take_turns, tokenised
from hbt_ray.data import lists
from hbt_ray.data.stores import PairStore
from hbt_ray.data.stream import Role

# Pairs read at once, if that is a step or more: what Ray does for a chunk takes as long as reading thousands.
CHUNK_PAIRS = 65536
CHUNK_TOKENS = 2**24
SHARED = 2  # times as much is read by a task that shares a chunk's ranks, whose shares differ less then
RANK_TOKENS = 2**18  # handed to a rank at once, at least, unless a task's rows were then no neighbours in the store
SIDES = ("query", "passage")
_NOTHING = {
    "negatives": pa.array([[]], pa.list_(pa.list_(pa.int32()))),
    "scores": pa.array([[]], pa.list_(pa.float32())),
}


class Slice(NamedTuple):
    """One rank's part of a global batch.

    Attributes:
        step: number of the global batch.
        stratum: name of the batch's stratum in the plan.
        query_languages, passage_languages: number of pairs in the whole global batch, by language.
        pairs: one row a pair of this rank: `group` (int64), `source`, `query_lang`, `passage_lang` (dictionaries of
            strings), `query`, `passage` (list<int32>, no special tokens), `negatives` (list<list<int32>>: those used in
            this step, in order) and, if asked for, `scores` (list<float32>: of the passage and of these negatives, as
            the passage's row has them; empty: none). Texts that are tokenised with a prefix begin with it.
    """

    step: int
    stratum: str
    query_languages: dict[str, int]
    passage_languages: dict[str, int]
    pairs: pa.Table


class Shape(NamedTuple):
    """How the steps of a run are cut up.

    Attributes:
        steps: of a chunk.
        ranks: whose slices one task reads; the last task of a chunk may have fewer.
    """

    steps: int
    ranks: int

    def parts(self, world_size: int) -> list[range]:
        """The ranks of each task of a chunk."""
        return [range(first, min(first + self.ranks, world_size)) for first in range(0, world_size, self.ranks)]


def shape(store: PairStore, batch_size: int, world_size: int) -> Shape:
    """Chunks that are large for Ray, the whole and each rank's share of it, and whose tasks are small for memory."""
    pairs = sum(stream.rows for stream in store.streams)
    mean = max(sum(sum(stream.tokens) for stream in store.streams) / pairs, 1)
    steps = max(1, int(min(CHUNK_PAIRS, CHUNK_TOKENS / mean)) // batch_size)
    of_a_rank = steps * batch_size / world_size * mean
    tasks = min(math.ceil(RANK_TOKENS / of_a_rank), max(1, batch_size // (SHARED * MIX_ROWS)), world_size)
    each = batch_size // world_size
    whole = MIX_ROWS // math.gcd(MIX_ROWS, each)  # ranks whose rows are mixed with no other's
    ranks = world_size if tasks == 1 else min(max(world_size // tasks // whole, 1) * whole, world_size)
    parts = -(-world_size // ranks)
    return Shape(steps * parts * (SHARED if parts > 1 else 1), ranks)


def read_chunk(
    store: PairStore,
    plan: Plan,
    start: int,
    stop: int,
    world_size: int,
    wanted: Wanted = PLAIN,
    ranks: range | None = None,
) -> list[pa.Buffer]:
    """The slices of steps start … stop for each of `ranks`, or all: one Arrow IPC value a rank, made for `slices`.

    A step's rows are dealt out to these ranks by their tokens, so that no rank waits long for another.

    Raises:
        UserError: a stream file is missing or damaged.
    """
    whole = plan.batches(start, stop)
    languages = plan.member_languages[whole.members]
    steps = [
        {
            "stratum": plan.strata[stratum].name,
            "query_languages": _counts(plan, languages[number, :, 0]),
            "passage_languages": _counts(plan, languages[number, :, 1]),
        }
        for number, stratum in enumerate(whole.strata)
    ]
    ranks = range(world_size) if ranks is None else ranks
    each = whole.rows.shape[1] // world_size
    part = slice(ranks.start * each, ranks.stop * each)
    batches = whole._replace(members=whole.members[:, part], rows=whole.rows[:, part])
    columns = _gather(store, plan, batches, wanted)
    shares = deal(_costs(columns).reshape(len(steps), -1), len(ranks))
    shares += np.arange(len(steps))[:, None, None] * batches.rows.shape[1]
    values = []
    for number, rank in enumerate(ranks):
        mine = shares[:, number].reshape(-1)
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


def _gather(store: PairStore, plan: Plan, batches: Batches, wanted: Wanted) -> dict[str, tuple[pa.Array, np.ndarray]]:
    """The values of every column of `Slice.pairs` in the order they were read, and for each row of the batches, one
    after the other, the place of its value among them, int64 [steps * batch_size].

    A stream is read once for all queries and once for all passages.
    """
    member = batches.members.ravel()
    streams, rows = _located(store, plan, member, batches.rows.ravel())
    steps = batches.start + np.arange(len(member)) // batches.rows.shape[1]
    scores: tuple[Role, ...] = ("scores",) if wanted.scores else ()
    sides_of: tuple[tuple[Role, ...], ...] = (("group", "query"), ("passage", "negatives", *scores))
    gathered: dict[str, tuple[pa.Array, np.ndarray]] = {}
    for side, columns in enumerate(sides_of):
        pieces: dict[str, list[pa.Array]] = {name: [] for name in columns}
        index = {name: np.empty(len(member), dtype=np.int64) for name in columns}
        sizes = dict.fromkeys(columns, 0)
        for stream, at in _by_value(streams[side]):
            about = store.streams[stream]
            prefixes = {name: wanted.prefix(name, about.source) for name in columns}
            stored = {name: about.column(column_of(name, prefix)) for name, prefix in prefixes.items()}
            if not wanted.negatives:
                stored["negatives"] = None
            read = iter(store.read_each(stream, [(column, rows[side][at]) for column in stored.values() if column]))
            for name, prefix in prefixes.items():
                values, place = next(read) if stored[name] else (_NOTHING[name], np.zeros(len(at), np.int64))
                if stored[name] and name in _NOTHING:
                    values = take_turns(values, place, steps[at], wanted.negatives, always=int(name == "scores"))
                    place = np.arange(len(at))
                if stored[name] and prefix is not None:
                    values = tokenised(store, values, prefix, about.text_tokens)
                pieces[name].append(values)
                index[name][at] = sizes[name] + place
                sizes[name] += len(values)
        gathered |= {name: (pa.concat_arrays(pieces[name]), index[name]) for name in columns}
    names = pa.array(plan.languages, pa.string()).dictionary_encode()
    sources = sorted({stream.source for stream in store.streams})
    of_stream = np.array([sources.index(stream.source) for stream in store.streams])
    sides = {f"{name}_lang": (names, plan.member_languages[member, side]) for side, name in enumerate(SIDES)}
    source = pa.array(sources, pa.string()).dictionary_encode(), of_stream[streams[0]]
    return {"group": gathered.pop("group"), "source": source, **sides, **gathered}


def _costs(columns: Mapping[str, tuple[pa.Array, np.ndarray]]) -> np.ndarray:
    """The tokens of query, passage and negatives of each row, int64 [rows]."""
    negatives, of_rows = columns["negatives"]
    ends = negatives.values.offsets.to_numpy().astype(np.int64)[negatives.offsets.to_numpy()]
    found: np.ndarray = np.diff(ends)[of_rows]
    for name in SIDES:
        texts, of_rows = columns[name]
        found = found + np.diff(texts.offsets.to_numpy())[of_rows]
    return found


def _located(
    store: PairStore, plan: Plan, member: np.ndarray, rows: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The streams of queries and of passages, and the rows in them, int64 [rows] each."""
    of_queries = np.array([found.query for found in plan.members])[member]
    of_passages = np.array([found.passage for found in plan.members])[member]
    pairs = np.array([-1 if found.pair is None else found.pair for found in plan.members])[member]
    queries, passages = rows.copy(), rows.copy()
    for pair, at in _by_value(pairs):
        if pair >= 0:
            left, right = store.matches(pair, rows[at])
            forward = of_queries[at] < of_passages[at]
            queries[at], passages[at] = np.where(forward, left, right), np.where(forward, right, left)
    return (of_queries, of_passages), (queries, passages)


def _by_value(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each value, and where it is."""
    order = np.argsort(values, kind="stable")
    found, first = np.unique(values[order], return_index=True)
    return zip(found.tolist(), np.split(order, first[1:]), strict=True)


def _counts(plan: Plan, languages: np.ndarray) -> dict[str, int]:
    counts = np.bincount(languages, minlength=len(plan.languages))
    return {plan.languages[language]: int(counts[language]) for language in np.flatnonzero(counts)}
