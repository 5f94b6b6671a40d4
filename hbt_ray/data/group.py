"""Second stage of the shuffle: the records of one partition, from the files of all parts, to rows of streams.

Rows are in the order of their group's key, and partitions are ranges of it, so a stream is what the partitions have of
it, one behind the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data import exchange, lengths, records
from hbt_ray.data.align import KEYS, shared
from hbt_ray.data.exchange import Runs, Segment
from hbt_ray.data.existing import Existing
from hbt_ray.data.keys import shuffle_order, stream_name
from hbt_ray.data.quarantine import Quarantine
from hbt_ray.data.stage import stage_file

NOTHING = {"streams": [], "there": [], "offsets": [0, 0], "shared": [], "duplicates": 0, "quarantined": {}}
KINDS = ("pairs", "cross-lingual", "bitext")
TOKENS = {"pairs": ("query", "passage", "negatives"), "bitext": ("query",)}


class Rows(NamedTuple):
    """Rows of one stream: `records`, int64 [rows], are numbers in the partition's table."""

    source: str
    kind: str
    languages: tuple[str, str]
    records: np.ndarray

    @property
    def name(self) -> str:
        """A readable folder name that no other stream has."""
        return stream_name(self.source, self.kind, self.languages)


@dataclass(frozen=True)
class GroupStage:
    """What all parts of this stage have in common; a call does one part.

    Attributes:
        quarantine: folder of bad rows [URI].
        drop_duplicates: keep one of pairs that are the same in all texts.
        largest: most that a partition may be, as the exchange has it [bytes].
        existing: reference to an `Existing`.
        width: partitions that the same runs are for.
        runs: references to Runs, for every `width` partitions one.
        inputs: reference to the input files [URIs].
    """

    quarantine: str
    folder: str
    seed: int
    drop_duplicates: bool
    largest: int
    existing: Any
    width: int
    runs: list[Any]
    inputs: Any

    def __call__(self, number: int, partition: int) -> dict[str, Any]:
        """Write the partition's rows, a segment a stream, and their keys; and the records that no stream can use.

        Returns: `streams`: name, source, kind, languages, rows, scored rows, tokens and lengths of each; `there`: name
        and rows of those that the store has already and that share groups with them; `offsets` of the segments of
        `streams` and of the keys of both; `shared`: what `align.shared` says of both; `duplicates`; `quarantined`:
        counts.

        Raises:
            UserError: the rows of the partition, or of one group, are too many for a task.
        """
        runs: Runs = ray.get(self.runs[partition // self.width])
        segments = runs.segments(partition % self.width)
        self._refuse_large(segments)
        tables = list(exchange.read_segments(segments))
        if not tables:
            return NOTHING
        table = pa.concat_tables(tables)
        del tables
        keys = shuffle_order(table["group"].to_numpy(), self.seed)
        existing: Existing = ray.get(self.existing)
        there = existing.sharing(table, keys)
        streams, lonely = assign(table, keys, [one.keys for one in there if one.kind == "bitext"])
        with Quarantine(storage.join(self.quarantine, f"group-{number:05d}.parquet")) as bad:
            bad.put(_quarantined(table, lonely, ray.get(self.inputs)))
        if not streams:
            return {**NOTHING, "quarantined": dict(bad.reasons)}
        same = [duplicates(table, rows.records) for rows in streams]
        if self.drop_duplicates:
            streams = [
                rows._replace(records=rows.records[~of_rows]) for rows, of_rows in zip(streams, same, strict=True)
            ]
        of_streams = [keys[rows.records] for rows in streams] + [one.keys for one in there]
        uri = stage_file(self.folder, number, ".arrows")
        offsets = exchange.write_segments(uri, _segments(table, streams, of_streams))
        alike = [(rows.source, rows.kind) if rows.kind != "cross-lingual" else None for rows in streams]
        alike += [(one.source, one.kind) for one in there]
        counted = {
            name: pc.fill_null(pc.list_value_length(table[name]), 0).to_numpy()
            for name in ("query", "passage", "scores")
        }
        return {
            "streams": [{"name": rows.name, **_describe(rows, counted)} for rows in streams],
            "there": [[one.name, len(one.keys)] for one in there],
            "offsets": offsets,
            "shared": shared(of_streams, alike, len(streams)),
            "duplicates": int(sum(of_rows.sum() for of_rows in same)),
            "quarantined": dict(bad.reasons),
        }

    def _refuse_large(self, segments: Sequence[Segment]) -> None:
        """Check that the partition fits a task: partitions are alike, unless a group is larger than one."""
        size = sum(stop - start for _, start, stop in segments)
        if size <= self.largest:
            return
        groups: Counter[int] = Counter()
        for table in exchange.read_segments(segments):
            groups.update(Counter(table["group"].to_pylist()))
        group, rows = groups.most_common(1)[0]
        if 2 * rows < groups.total():
            raise UserError(
                f"a partition of the shuffle has {size / 2**20:,.0f} MiB, more than a task holds: set --partitions to"
                f" {-(-2 * size // self.largest)} times as many as there were"
            )
        for table in exchange.read_segments(segments):
            at = np.flatnonzero(table["group"].to_numpy() == group)
            if len(at):
                file, row = (table[name][int(at[0])].as_py() for name in ("file", "row"))
                raise UserError(
                    f"{rows:,} rows are of one group, as {ray.get(self.inputs)[file]} row {row}: a group is the"
                    " translations of one pair, or the answers to one query; leave the column out"
                )


def columns_of(kind: str, scored: bool, texts: bool) -> list[str]:
    """The columns of a stream of this kind: scores if any of its rows has some, texts if the store keeps them."""
    tokens = TOKENS["bitext" if kind == "bitext" else "pairs"]
    scores = ["scores"] if scored and kind != "bitext" else []
    return ["group", *tokens, *scores, *(f"{name}_text" for name in tokens if texts)]


def assign(table: pa.Table, keys: np.ndarray, there: Sequence[np.ndarray] = ()) -> tuple[list[Rows], np.ndarray]:
    """The rows of each stream, by name, and the records of bitext, int64 [records], whose group has no other language.

    Args:
        table: records of the schema TOKENISED.
        keys: of each record's group, by which rows are ordered, uint64 [records].
        there: keys of groups that the store has already in other languages, uint64 [rows] of each stream of bitext.
    """
    names, (query, passage) = _codes(table["query_lang"], table["passage_lang"])
    sources, (source,) = _codes(table["source"])
    bitext = table["bitext"].to_numpy()
    kind = np.where(query != passage, 1, np.where(bitext, 2, 0))
    at = np.flatnonzero(bitext)
    of_group, group = np.unique(keys[at], return_inverse=True)
    languages_of = np.bincount(np.unique(np.stack([group, query[at]]), axis=1)[0])
    languages_of = languages_of + sum(np.isin(of_group, of_stream) for of_stream in there)
    lonely = at[languages_of[group] < 2]
    kept = np.ones(len(keys), dtype=bool)
    kept[lonely] = False
    stream = ((source * len(KINDS) + kind) * len(names) + query) * len(names) + passage
    # content decides the order within a group, and file and row only where content is equal
    order = np.lexsort((table["content"].to_numpy(), keys, stream))
    order = order[kept[order]]
    streams = []
    for chosen in np.split(order, np.flatnonzero(np.diff(stream[order])) + 1) if len(order) else []:
        first = chosen[0]
        languages = names[query[first]], names[passage[first]]
        streams.append(Rows(sources[source[first]], KINDS[kind[first]], languages, chosen))
    return sorted(streams, key=lambda rows: rows.name), lonely


def duplicates(table: pa.Table, chosen: np.ndarray) -> np.ndarray:
    """Which of a stream's rows, int64 [rows], say the same as the row before, bool [rows]."""
    same = np.ones(len(chosen), dtype=bool)
    for name in ("group", "content"):
        values = table[name].to_numpy()[chosen]
        same[1:] &= values[1:] == values[:-1]
    same[:1] = False
    return same


def _codes(*columns: pa.ChunkedArray) -> tuple[list[str], list[np.ndarray]]:
    """The values in the columns, sorted, and each column as int64 numbers of them."""
    names = sorted({name for column in columns for name in pc.unique(column).to_pylist()})
    return names, [pc.index_in(column, pa.array(names, pa.string())).to_numpy().astype(np.int64) for column in columns]


def _segments(table: pa.Table, streams: list[Rows], keys: list[np.ndarray]) -> Iterator[pa.Table]:
    """The rows of each stream as it stores them, and at last the keys of these, and of those that are there."""
    for rows in streams:
        yield table.select(columns_of(rows.kind, scored=True, texts=True)).take(pa.array(rows.records))
    if streams:
        of_stream = np.repeat(np.arange(len(keys), dtype=np.int32), [len(of_rows) for of_rows in keys])
        yield pa.table([of_stream, np.concatenate(keys)], schema=KEYS)


def _describe(rows: Rows, counted: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the manifest says of the rows; `counted`: length of every record's query, passage and scores."""
    query = counted["query"][rows.records]
    sides = {"query": query, "passage": query if rows.kind == "bitext" else counted["passage"][rows.records]}
    return {
        "source": rows.source,
        "kind": rows.kind,
        "languages": list(rows.languages),
        "rows": len(rows.records),
        "scored": 0 if rows.kind == "bitext" else int(np.count_nonzero(counted["scores"][rows.records])),
        "tokens": [int(of_side.sum()) for of_side in sides.values()],
        "lengths": {name: lengths.histogram(of_side) for name, of_side in sides.items()},
    }


def _quarantined(table: pa.Table, lonely: np.ndarray, inputs: list[str]) -> pa.Table:
    files, rows = (table[name].take(pa.array(lonely)).to_pylist() for name in ("file", "row"))
    reason = [records.LONELY] * len(lonely)
    nothing = pa.nulls(len(lonely), pa.binary())
    columns: dict[str, Any] = {"file": [inputs[file] for file in files], "row": rows, "reason": reason}
    columns |= {"value": pa.nulls(len(lonely), pa.string()), "query": nothing, "passage": nothing}
    return pa.table(columns, schema=records.QUARANTINE)
