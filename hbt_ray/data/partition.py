"""One partition of the shuffle: records of whole groups to rows of streams.

The shuffle sorts by a keyed hash of the group, so the order is random, the same for any number of tasks, and the
translations of one group meet in one partition.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray import storage

# what `prepare` shuffles: checked records after tokenisation
TOKENISED = pa.schema(
    [
        ("partition", pa.int64()),
        ("order", pa.uint64()),
        ("group", pa.int64()),
        ("source", pa.string()),
        ("query_lang", pa.string()),
        ("passage_lang", pa.string()),
        ("bitext", pa.bool_()),
        ("query", pa.list_(pa.int32())),
        ("passage", pa.list_(pa.int32())),  # of bitext: null, the query says it
        ("negatives", pa.list_(pa.list_(pa.int32()))),
        ("file", pa.string()),
        ("row", pa.int64()),
    ]
)
Signature = tuple[str, str, tuple[str, ...]]  # source, kind, languages: what makes a stream


def group_ids(source: pa.ChunkedArray, group: pa.ChunkedArray, file: str, row: pa.ChunkedArray) -> np.ndarray:
    """A 63-bit id, int64, of each record's (source, group); a record without a group is named by its file and row."""
    names = [
        f"{one_source}\0{one_group}" if one_group is not None else f"{one_source}\0{file}\0{one_row}"
        for one_source, one_group, one_row in zip(source.to_pylist(), group.to_pylist(), row.to_pylist(), strict=True)
    ]
    hashed = pd.util.hash_array(np.array(names, dtype=object), categorize=False)
    return (hashed >> np.uint64(1)).astype(np.int64)


def shuffle_order(groups: np.ndarray, seed: int) -> np.ndarray:
    """A random number, uint64, of each group id, keyed by the seed (splitmix64)."""
    mixed = groups.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def write(table: pa.Table, out: str, row_group_rows: int) -> pa.Table:
    """Write the stream files of one partition below `out`; returns one row a file, and one a record left out.

    The result's columns: `entry` (JSON of a stream's file, or null) and `bad` (JSON of a quarantined record, or null).
    """
    order = np.lexsort(
        (
            table["row"].to_numpy(),
            pc.rank(table["file"].combine_chunks(), tiebreaker="dense").to_numpy(),
            pc.rank(table["query_lang"].combine_chunks(), tiebreaker="dense").to_numpy(),
            table["group"].to_numpy(),
            table["order"].to_numpy(),
        )
    )
    table = table.take(pa.array(order))
    partition = int(table["partition"][0].as_py())
    streams, left_out = _assign(table)
    entries = [
        _write_stream(table, signature, rows, out, partition, row_group_rows) for signature, rows in streams.items()
    ]
    bad = [
        {"file": table["file"][row].as_py(), "row": table["row"][row].as_py(), "reason": reason}
        for row, reason in left_out
    ]
    return pa.table(
        {
            "entry": pa.array([*map(json.dumps, entries), *[None] * len(bad)], pa.string()),
            "bad": pa.array([*[None] * len(entries), *map(json.dumps, bad)], pa.string()),
        }
    )


def _assign(table: pa.Table) -> tuple[dict[Signature, list[list[int]]], list[tuple[int, str]]]:
    """For each stream its rows, each as the record numbers of its languages; and the records no stream can use."""
    streams: dict[Signature, list[list[int]]] = defaultdict(list)
    left_out: list[tuple[int, str]] = []
    columns = [table[name].to_pylist() for name in ("group", "source", "query_lang", "passage_lang", "bitext")]
    members: dict[tuple[str, bool], dict[str, int]] = {}
    current = None

    def close() -> None:
        for (source, bitext), languages in members.items():
            if bitext and len(languages) < 2:
                left_out.extend((row, "bitext without a translation") for row in languages.values())
            else:
                streams[source, "bitext" if bitext else "pairs", tuple(languages)].append(list(languages.values()))
        members.clear()

    for row, (group, source, query_lang, passage_lang, bitext) in enumerate(zip(*columns, strict=True)):
        if group != current:
            close()
            current = group
        if query_lang != passage_lang:
            streams[source, "cross-lingual", (query_lang, passage_lang)].append([row])
        elif query_lang in members.setdefault((source, bitext), {}):
            left_out.append((row, f"a second row in {query_lang} in its group"))
        else:
            members[source, bitext][query_lang] = row
    close()
    return streams, left_out


def _write_stream(
    table: pa.Table, signature: Signature, rows: list[list[int]], out: str, partition: int, row_group_rows: int
) -> dict[str, Any]:
    source, kind, languages = signature
    numbers = np.array(rows)
    columns: dict[str, Any] = {"group": table["group"].take(pa.array(numbers[:, 0]))}
    tokens = {}
    for position, language in enumerate(languages):
        # a cross-lingual row is one record: its query is in the first language, its passage in the second
        part = table.take(pa.array(numbers[:, 0 if kind == "cross-lingual" else position]))
        has_query = kind != "cross-lingual" or position == 0
        has_passage = kind != "cross-lingual" or position == 1
        if kind == "bitext":
            columns[f"text.{language}"] = part["query"]
        else:
            if has_query:
                columns[f"query.{language}"] = part["query"]
            if has_passage:
                columns[f"passage.{language}"] = part["passage"]
                columns[f"negatives.{language}"] = part["negatives"]
        tokens[language] = [
            _total(part["query"]) if has_query else 0,
            _total(part["query" if kind == "bitext" else "passage"]) if has_passage else 0,
        ]
    path = f"streams/{_slug(signature)}/part-{partition:05d}.parquet"
    storage.write_parquet(storage.join(out, path), pa.table(columns), row_group_rows)
    return {
        "source": source,
        "kind": kind,
        "languages": list(languages),
        "tokens": tokens,
        "file": {"path": path, "rows": len(rows), "bytes": storage.size(storage.join(out, path))},
    }


def _total(lists: pa.ChunkedArray) -> int:
    return int(pc.sum(pc.list_value_length(lists)).as_py() or 0)


def _slug(signature: Signature) -> str:
    """A readable folder name that no other stream has."""
    source, kind, languages = signature
    readable = "-".join(languages[:4]) + ("-etc" if len(languages) > 4 else "")
    safe = "".join(character if character.isalnum() or character in "-_." else "_" for character in source)
    return f"{safe}/{kind}-{readable}-{storage.fingerprint(signature)[:6]}"


def as_tokenised(checked: pa.Table, file: str, seed: int, partitions: int, **tokens: Any) -> pa.Table:
    """Checked records and their token lists (`query`, `passage`, `negatives`) as rows of TOKENISED."""
    groups = group_ids(checked["source"], checked["group"], file, checked["row"])
    order = shuffle_order(groups, seed)
    return (
        pa.table(
            {
                "partition": pa.array((order % np.uint64(partitions)).astype(np.int64)),
                "order": pa.array(order),
                "group": pa.array(groups),
                **{name: checked[name] for name in ("source", "query_lang", "passage_lang", "bitext", "row")},
                **tokens,
                "file": pa.array([file] * checked.num_rows, pa.string()),
            }
        )
        .select(TOKENISED.names)
        .cast(TOKENISED)
    )
