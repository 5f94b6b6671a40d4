"""Synthetic stream stores for benchmarks: with random tokens, or a manifest alone."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from hbt_ray import storage
from hbt_ray.arrays import blocks as blocks_of
from hbt_ray.benchmarks.settings import ShufflerBenchmark
from hbt_ray.data import lengths
from hbt_ray.data.align import blocks, whole_index
from hbt_ray.data.alignment import index_fingerprint, index_uri
from hbt_ray.data.keys import shuffle_order
from hbt_ray.data.prepare import SIZES
from hbt_ray.data.sources import world_facts
from hbt_ray.data.stream import Stream
from hbt_ray.data.streams import StreamStore
from hbt_ray.model import tokenizer

ROW_GROUP_ROWS = 1024  # as `prepare` has it
PIECES = 6000  # of the vocabulary
MONOLINGUAL = ("de", "en", "fr", "ja")
_QUANTILES = 2**16
log = logging.getLogger(__name__)


def manifest_only(out: str, rows: int, streams: int) -> StreamStore:
    """A store of `streams` equal streams with `rows` rows together, and no data: all that a plan needs.

    Every stream is of a language of its own, and half of its groups are translated into the next, so there are as many
    pairs of streams as streams.
    """
    entries = [_entry(f"stream-{number:04d}", f"l{number:03d}", rows // streams, []) for number in range(streams)]
    totals = {(number, number): rows // streams for number in range(streams)}
    totals |= {(number, number + 1): rows // streams // 2 for number in range(streams - 1)}
    parts = []
    for (left, right), count in totals.items():
        at = np.arange(-(-count // ROW_GROUP_ROWS))
        key = at.astype(np.uint64) * np.uint64(2**64 // max(len(at), 1) - 1)
        parts.append({"left": at * 0 + left, "right": at * 0 + right, "at": at, "key": key, "skip": at * 0})
    return _commit(out, entries, "none", whole_index(parts, totals, ROW_GROUP_ROWS, ROW_GROUP_ROWS))


def write_store(out: str, config: ShufflerBenchmark) -> StreamStore:
    """A store of `config.pairs` pairs: half of them in four languages, half of them translations.

    The tokens follow Zipf's law. Memory does not grow with the number of pairs but for eight bytes of each.
    """
    learned = tokenizer.learn(world_facts.fact_rows("train")["passage"].to_pylist(), PIECES)
    with tempfile.TemporaryDirectory() as folder:
        learned.save_pretrained(folder)
        storage.upload(folder, storage.join(out, "tokenizer"))
    frequent = _zipf(learned)
    parallel = tuple(f"l{number:03d}" for number in range(config.languages))
    rows = config.pairs // 2 // len(parallel)
    groups = np.arange(rows)
    streams = [(tag, np.arange(config.pairs // 2 // len(MONOLINGUAL)) + (place + 1 << 40)) for place, tag in
               enumerate(MONOLINGUAL)] + [(tag, groups) for tag in parallel]  # fmt: skip
    entries, keys = [], {}
    for number, (language, ids) in enumerate(streams):
        order = shuffle_order(ids, 0)
        ids = ids[np.argsort(order)]
        keys[number] = np.sort(order)
        name = f"synthetic/pairs-{language}-{number}"
        chance = np.random.default_rng([number, config.pairs])
        files: list[dict[str, Any]] = []
        for of_file in blocks_of(len(ids), SIZES.file_row_groups * ROW_GROUP_ROWS):
            path = f"streams/{name}/part-{len(files):05d}.parquet"
            files.append(_write_file(out, path, ids[of_file], config, frequent, chance))
        entries.append(_entry(name, language, len(ids), files, (config.query_tokens, config.passage_tokens)))
        log.info("%s: %d rows", name, len(ids))
    totals = {(number, number): len(of_stream) for number, of_stream in keys.items()}
    both = combinations(range(len(MONOLINGUAL), len(streams)), 2)
    totals |= dict.fromkeys(both, rows)
    found = blocks(keys, {pair: (0, count) for pair, count in totals.items()}, ROW_GROUP_ROWS, ROW_GROUP_ROWS)
    index = whole_index([found], totals, ROW_GROUP_ROWS, ROW_GROUP_ROWS)
    return _commit(out, entries, tokenizer.tokenizer_fingerprint(learned), index)


def pairs(store: StreamStore, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first `count` pairs of the store as token ids, int32 [pairs, tokens] of queries and of passages, a row group
    at a time, from all streams in turn."""
    left = count
    places = [(first, number) for number, stream in enumerate(store.streams) for first in _firsts(stream)]
    for first, number in sorted(places):
        stream = store.streams[number]
        rows = np.arange(first, min(first + ROW_GROUP_ROWS, stream.rows))
        table = store.read(number, rows[:left], ["query", "passage"])
        queries, passages = (_matrix(table[column].combine_chunks()) for column in table.column_names)
        yield queries, passages
        left -= len(queries)
        if left == 0:
            return


def _firsts(stream: Stream) -> range:
    return range(0, stream.rows, ROW_GROUP_ROWS)


def _matrix(texts: pa.ListArray) -> np.ndarray:
    """Texts of one length, [texts, tokens]."""
    return texts.flatten().to_numpy().reshape(len(texts), -1)


def _zipf(learned: PreTrainedTokenizerBase) -> np.ndarray:
    """Token ids such that one drawn at random follows Zipf's law, int32."""
    first = max(learned.all_special_ids) + 1
    share = 1 / (np.arange(len(learned) - first) + 2.7)
    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return (first + np.searchsorted(np.cumsum(share / share.sum()), middles)).astype(np.int32)


def _write_file(
    out: str,
    path: str,
    groups: np.ndarray,
    config: ShufflerBenchmark,
    frequent: np.ndarray,
    chance: np.random.Generator,
) -> dict[str, Any]:
    """One file of a stream as `prepare` writes it; returns what the manifest says of it."""

    def table(ids: np.ndarray) -> pa.Table:
        columns: dict[str, pa.Array] = {"group": pa.array(ids)}
        for role, tokens in (("query", config.query_tokens), ("passage", config.passage_tokens)):
            drawn = frequent[chance.integers(0, _QUANTILES, len(ids) * tokens, dtype=np.uint16)]
            offsets = np.arange(len(ids) + 1, dtype=np.int32) * tokens
            columns[role] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(drawn))
        columns["negatives"] = pa.array([[]] * len(ids), pa.list_(pa.list_(pa.int32())))
        return pa.table(columns)

    with storage.create(storage.join(out, path)) as file:
        tables = (table(groups[block]) for block in blocks_of(len(groups), ROW_GROUP_ROWS))
        one = next(tables)
        with pq.ParquetWriter(file, one.schema, compression="zstd", write_statistics=False) as writer:
            for of_block in chain([one], tables):
                writer.write_table(of_block)
        return {"path": path, "rows": len(groups), "bytes": file.tell()}


def _entry(
    name: str, language: str, rows: int, files: list[dict[str, Any]], tokens: tuple[int, int] | None = None
) -> dict[str, Any]:
    """What the manifest says of a stream whose texts all have the same lengths, those of query and passage."""
    counts = [[rows * count for count in lengths.histogram(np.array([length]))] for length in tokens or ()]
    return {
        "name": name,
        "source": "synthetic",
        "kind": "pairs",
        "languages": [language, language],
        "rows": rows,
        "files": files,
        "tokens": [rows * length for length in tokens or (0, 0)],
        "lengths": dict(zip(("query", "passage"), counts or [[], []], strict=True)),
    }


def _commit(out: str, streams: list[dict[str, Any]], fingerprint: str, index: pa.Table) -> StreamStore:
    of_index = index_fingerprint(index)
    storage.write_parquet(index_uri(out, of_index), index)
    body = {
        "seed": 0,
        "row_group_rows": ROW_GROUP_ROWS,
        "alignment": {"block_rows": ROW_GROUP_ROWS, "fingerprint": of_index},
        "tokenizer": {"fingerprint": fingerprint},
        "counts": {},
        "streams": streams,
    }
    storage.commit(out, "stream store", body)
    return StreamStore(out)
