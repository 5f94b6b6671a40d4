"""Second stage of the shuffle: the records of one partition, from the files of all parts, to rows of streams.

Rows are in the order of their group's key, and partitions are ranges of it, so a stream is what the partitions have of
it, one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from hbt_ray import storage
from hbt_ray.data import exchange, lengths, records
from hbt_ray.data.align import KEYS, shared
from hbt_ray.data.exchange import Segment
from hbt_ray.data.keys import shuffle_order
from hbt_ray.data.quarantine import Quarantine
from hbt_ray.data.stage import stage_file

KINDS = ("pairs", "cross-lingual", "bitext")
TOKENS = {"pairs": ("query", "passage", "negatives"), "bitext": ("query",)}


class Runs(NamedTuple):
    """What the first stage wrote.

    Attributes:
        inputs: input files by number.
        uris: URI of each run's file.
        offsets: where in it each partition's segment begins, and the last ends, int64 [runs, partitions + 1].
    """

    inputs: list[str]
    uris: list[str]
    offsets: np.ndarray


class Rows(NamedTuple):
    """Rows of one stream: `records`, int64 [rows], are numbers in the partition's table."""

    source: str
    kind: str
    languages: tuple[str, str]
    records: np.ndarray

    @property
    def name(self) -> str:
        """A readable folder name that no other stream has."""
        readable = "-".join(dict.fromkeys(self.languages))
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in self.source[:80])
        unique = storage.fingerprint([self.source, self.kind, self.languages])[:12]
        return f"{safe.strip('.') or '_'}/{self.kind}-{readable}-{unique}"


@dataclass(frozen=True)
class GroupStage:
    """What all parts of this stage have in common; a call does one part.

    Attributes:
        drop_duplicates: keep one of pairs that are the same in all texts.
        runs: reference to `Runs`.
    """

    out: str
    folder: str
    seed: int
    drop_duplicates: bool
    runs: Any

    def __call__(self, number: int, partition: int) -> dict[str, Any]:
        """Write the partition's rows, a segment a stream, and their keys; and the records that no stream can use.

        Returns: `streams`: name, source, kind, languages, rows, scored rows, tokens and lengths of each; `offsets` of
        their segments and of the keys; `shared`: what `align.shared` says of the streams; `duplicates`; `quarantined`:
        counts.
        """
        runs: Runs = ray.get(self.runs)
        spans = runs.offsets[:, partition : partition + 2].tolist()
        tables = list(exchange.read_segments(Segment(uri, *span) for uri, span in zip(runs.uris, spans, strict=True)))
        if not tables:
            return {"streams": [], "offsets": [0, 0], "shared": [], "duplicates": 0, "quarantined": {}}
        table = pa.concat_tables(tables)
        del tables
        keys = shuffle_order(table["group"].to_numpy(), self.seed)
        streams, lonely = assign(table, keys)
        with Quarantine(storage.join(self.out, "quarantine", f"group-{number:05d}.parquet")) as bad:
            bad.put(_quarantined(table, lonely, runs.inputs))
        same = [duplicates(table, rows.records) for rows in streams]
        if self.drop_duplicates:
            streams = [
                rows._replace(records=rows.records[~of_rows]) for rows, of_rows in zip(streams, same, strict=True)
            ]
        of_streams = [keys[rows.records] for rows in streams]
        uri = stage_file(self.folder, number, ".arrows")
        offsets = exchange.write_segments(uri, _segments(table, streams, of_streams))
        alike = [(rows.source, rows.kind) if rows.kind != "cross-lingual" else None for rows in streams]
        counted = {
            name: pc.fill_null(pc.list_value_length(table[name]), 0).to_numpy()
            for name in ("query", "passage", "scores")
        }
        return {
            "streams": [{"name": rows.name, **_describe(rows, counted)} for rows in streams],
            "offsets": offsets,
            "shared": shared(of_streams, alike),
            "duplicates": int(sum(of_rows.sum() for of_rows in same)),
            "quarantined": dict(bad.reasons),
        }


def columns_of(kind: str, scored: bool, texts: bool) -> list[str]:
    """The columns of a stream of this kind: scores if any of its rows has some, texts if the store keeps them."""
    tokens = TOKENS["bitext" if kind == "bitext" else "pairs"]
    scores = ["scores"] if scored and kind != "bitext" else []
    return ["group", *tokens, *scores, *(f"{name}_text" for name in tokens if texts)]


def assign(table: pa.Table, keys: np.ndarray) -> tuple[list[Rows], np.ndarray]:
    """The rows of each stream, by name, and the records of bitext, int64 [records], whose group has no other language.

    Args:
        table: records of the schema TOKENISED.
        keys: of each record's group, by which rows are ordered, uint64 [records].
    """
    names, (query, passage) = _codes(table["query_lang"], table["passage_lang"])
    sources, (source,) = _codes(table["source"])
    bitext = table["bitext"].to_numpy()
    kind = np.where(query != passage, 1, np.where(bitext, 2, 0))
    at = np.flatnonzero(bitext)
    _, group = np.unique(keys[at], return_inverse=True)
    languages_of = np.bincount(np.unique(np.stack([group, query[at]]), axis=1)[0])
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
    """The rows of each stream as it stores them, and at last the keys of all."""
    for rows in streams:
        yield table.select(columns_of(rows.kind, scored=True, texts=True)).take(pa.array(rows.records))
    if streams:
        of_stream = np.repeat(np.arange(len(streams), dtype=np.int32), [len(of_rows) for of_rows in keys])
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
