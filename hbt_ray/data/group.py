"""Second stage of the shuffle: the records of one partition, from the files of all parts, to rows of streams.

Translations, which share a group, stand in one row. Rows are in the order of their group's keyed hash, and partitions
are ranges of it, so a stream is what the partitions have of it, one behind the other.
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
from hbt_ray.data.exchange import Segment
from hbt_ray.data.quarantine import Quarantine
from hbt_ray.data.read import shuffle_order
from hbt_ray.data.stage import stage_file


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
    """Rows of one stream: `records`, int64 [rows, languages], are numbers in the partition's table.

    A cross-lingual row is one record in two languages, so [rows, 1].
    """

    source: str
    kind: str
    languages: tuple[str, ...]
    records: np.ndarray


@dataclass(frozen=True)
class GroupStage:
    """What all parts of this stage have in common; a call does one part.

    Attributes:
        runs: reference to `Runs`.
    """

    out: str
    folder: str
    seed: int
    runs: Any

    def __call__(self, number: int, partition: int) -> dict[str, Any]:
        """Write the partition's rows, a segment a stream, and the records that no stream can use.

        Returns: `streams`: name, source, kind, languages, rows, tokens and lengths of each, `offsets` of their
        segments, and `quarantined`: counts.
        """
        runs: Runs = ray.get(self.runs)
        spans = runs.offsets[:, partition : partition + 2].tolist()
        tables = list(exchange.read_segments(Segment(uri, *span) for uri, span in zip(runs.uris, spans, strict=True)))
        if not tables:
            return {"streams": [], "offsets": [0], "quarantined": {}}
        table = pa.concat_tables(tables).combine_chunks()
        del tables
        streams, left_out = assign(table, shuffle_order(table["group"].to_numpy(), self.seed))
        with Quarantine(storage.join(self.out, "quarantine", f"group-{number:05d}.parquet")) as bad:
            bad.put(_quarantined(table, left_out, runs.inputs))
        named = sorted((_name(rows), rows) for rows in streams)
        uri = stage_file(self.folder, number, ".arrows")
        offsets = exchange.write_segments(uri, (_columns(table, rows) for _, rows in named))
        counted = {name: _lengths(table[name]) for name in ("query", "passage")}
        return {
            "streams": [{"name": name, **_describe(rows, counted)} for name, rows in named],
            "offsets": offsets,
            "quarantined": dict(bad.reasons),
        }


def assign(table: pa.Table, order: np.ndarray) -> tuple[list[Rows], dict[str, np.ndarray]]:
    """The rows of each stream, and by reason the records, int64 [records], that no stream can use.

    Args:
        table: records of the schema TOKENISED.
        order: keyed hash of each record's group, by which rows are ordered, uint64 [records].
    """
    names, (query, passage) = _codes(table["query_lang"], table["passage_lang"])
    sources, (source,) = _codes(table["source"])
    bitext = table["bitext"].to_numpy()
    place = np.lexsort((query, bitext, source, order))  # stable: equal ones stay in the order of file and row
    order, query, passage, source, bitext = (column[place] for column in (order, query, passage, source, bitext))

    streams = []
    across = np.flatnonzero(query != passage)
    for rows in _by_value((source[across] * len(names) + query[across]) * len(names) + passage[across]):
        first = across[rows[0]]
        pair = (names[query[first]], names[passage[first]])
        streams.append(Rows(sources[source[first]], "cross-lingual", pair, place[across[rows]][:, None]))

    left_out: dict[str, np.ndarray] = {}
    alike = np.flatnonzero(query == passage)
    second = alike[1:][~_differ(alike, order, source, bitext, query)]
    for rows in _by_value(query[second]):
        left_out[f"a second row in {names[query[second[rows[0]]]]} in its group"] = place[second[rows]]
    alike = np.setdiff1d(alike, second)
    starts = np.flatnonzero(np.concatenate([[len(alike) > 0], _differ(alike, order, source, bitext)]))
    counts = np.diff([*starts, len(alike)])
    lonely = bitext[alike[starts]] & (counts < 2)
    if lonely.any():
        left_out["bitext without a translation"] = place[alike[starts[lonely]]]
    starts, counts = starts[~lonely], counts[~lonely]
    # groups of the same source, kind and languages: the sum of a random number for each language tells them apart
    random = np.random.default_rng(0).integers(0, 2**63, (3, len(names) + len(sources) + 2), dtype=np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(random[0, query[alike]], dtype=np.uint64)])
    kinds = random[1, source[alike[starts]]] + random[2, bitext[alike[starts]].astype(np.int64)]
    keys = sums[starts + counts] - sums[starts] + kinds
    for rows in _by_value(keys):
        members = alike[starts[rows][:, None] + np.arange(counts[rows[0]])]
        first = members[0, 0]
        languages = tuple(names[code] for code in query[members[0]])
        streams.append(Rows(sources[source[first]], "bitext" if bitext[first] else "pairs", languages, place[members]))
    return streams, left_out


def _codes(*columns: pa.ChunkedArray) -> tuple[list[str], list[np.ndarray]]:
    """The values in the columns, sorted, and each column as int64 numbers of them."""
    names = sorted({name for column in columns for name in pc.unique(column).to_pylist()})
    return names, [pc.index_in(column, pa.array(names, pa.string())).to_numpy().astype(np.int64) for column in columns]


def _differ(positions: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Where a position differs in some column from the one before, bool [positions - 1]."""
    found = np.zeros(max(len(positions) - 1, 0), dtype=bool)
    for column in columns:
        found |= column[positions[1:]] != column[positions[:-1]]
    return found


def _by_value(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of each value among `keys`, ascending."""
    if len(keys):
        order = np.argsort(keys, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(keys[order])) + 1)


def _columns(table: pa.Table, rows: Rows) -> pa.Table:
    """The rows as the stream stores them."""
    columns = {"group": table["group"].take(pa.array(rows.records[:, 0]))}
    for position, language in enumerate(rows.languages):
        chosen = pa.array(rows.records[:, 0 if rows.kind == "cross-lingual" else position])
        if rows.kind == "bitext":
            columns[f"text.{language}"] = table["query"].take(chosen)
            continue
        if rows.kind == "pairs" or position == 0:
            columns[f"query.{language}"] = table["query"].take(chosen)
        if rows.kind == "pairs" or position == 1:
            columns[f"passage.{language}"] = table["passage"].take(chosen)
            columns[f"negatives.{language}"] = table["negatives"].take(chosen)
    return pa.table(columns)


def _describe(rows: Rows, counted: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the manifest says of the rows; `counted`: length of every record's query and passage."""
    tokens, histograms = {}, {}
    for position, language in enumerate(rows.languages):
        chosen = rows.records[:, 0 if rows.kind == "cross-lingual" else position]
        query, passage = counted["query"][chosen], counted["passage"][chosen]
        if rows.kind == "bitext":
            passage = query
        elif rows.kind == "cross-lingual":
            query, passage = (query, passage[:0]) if position == 0 else (query[:0], passage)
        tokens[language] = [int(query.sum()), int(passage.sum())]
        histograms[language] = {"query": lengths.histogram(query), "passage": lengths.histogram(passage)}
    return {
        "source": rows.source,
        "kind": rows.kind,
        "languages": list(rows.languages),
        "rows": len(rows.records),
        "tokens": tokens,
        "lengths": histograms,
    }


def _lengths(lists: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy()


def _quarantined(table: pa.Table, left_out: dict[str, np.ndarray], inputs: list[str]) -> pa.Table:
    tables = [records.QUARANTINE.empty_table()]
    for reason, chosen in left_out.items():
        files, rows = (table[name].take(pa.array(chosen)).to_pylist() for name in ("file", "row"))
        columns = {"file": [inputs[file] for file in files], "row": rows, "reason": [reason] * len(chosen)}
        nothing = pa.nulls(len(chosen), pa.binary())
        tables.append(pa.table({**columns, "query": nothing, "passage": nothing}, schema=records.QUARANTINE))
    return pa.concat_tables(tables)


def _name(rows: Rows) -> str:
    """A readable folder name that no other stream has."""
    readable = "-".join(rows.languages[:4]) + ("-etc" if len(rows.languages) > 4 else "")
    safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in rows.source[:80])
    unique = storage.fingerprint([rows.source, rows.kind, rows.languages])[:12]
    return f"{safe.strip('.') or '_'}/{rows.kind}-{readable}-{unique}"
