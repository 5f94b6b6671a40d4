"""Synthetic stream stores for benchmarks: with random tokens, or a manifest alone."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from hbt_ray import storage
from hbt_ray.benchmarks.settings import ShufflerBenchmark
from hbt_ray.data import lengths
from hbt_ray.data.prepare import SIZES
from hbt_ray.data.sources import world_facts
from hbt_ray.data.streams import Stream, StreamStore
from hbt_ray.model import tokenizer

ROW_GROUP_ROWS = 1024  # as `prepare` has it
PIECES = 6000  # of the vocabulary
MONOLINGUAL = ("de", "en", "fr", "ja")
PARALLEL = ("de", "en", "fr")
_QUANTILES = 2**16
log = logging.getLogger(__name__)


def manifest_only(out: str, rows: int, streams: int) -> StreamStore:
    """A store of `streams` equal streams with `rows` rows together, and no data: all that a plan needs.

    A quarter of the streams are parallel in four languages, the others have one; there are as many languages as
    parallel streams.
    """
    parallel = max(streams // 4, 4)
    entries = []
    for number in range(streams):
        languages = {f"l{(number + place) % parallel:03d}" for place in range(4 if number < parallel else 1)}
        entries.append(_entry(f"stream-{number:04d}", tuple(sorted(languages)), rows // streams, []))
    return _commit(out, entries, "none")


def write_store(out: str, config: ShufflerBenchmark) -> StreamStore:
    """A store of `config.pairs` pairs: half of them in a stream for each of four languages, half in a parallel stream.

    The tokens follow Zipf's law. Memory does not grow with the number of pairs.
    """
    learned = tokenizer.learn(world_facts.fact_rows("train")["passage"].to_pylist(), PIECES)
    with tempfile.TemporaryDirectory() as folder:
        learned.save_pretrained(folder)
        storage.upload(folder, storage.join(out, "tokenizer"))
    frequent = _zipf(learned)
    streams: list[tuple[tuple[str, ...], int]] = [
        ((tag,), config.pairs // 2 // len(MONOLINGUAL)) for tag in MONOLINGUAL
    ]
    streams.append((PARALLEL, config.pairs // 2 // len(PARALLEL)))
    entries = []
    for number, (languages, rows) in enumerate(streams):
        name = f"synthetic/pairs-{'-'.join(languages)}"
        chance = np.random.default_rng([number, config.pairs])
        files: list[dict[str, Any]] = []
        for first in range(0, rows, SIZES.file_row_groups * ROW_GROUP_ROWS):
            path = f"streams/{name}/part-{len(files):05d}.parquet"
            wanted = range(first, min(first + SIZES.file_row_groups * ROW_GROUP_ROWS, rows))
            files.append(_write_file(out, path, wanted, number, languages, config, frequent, chance))
        entries.append(_entry(name, languages, rows, files, (config.query_tokens, config.passage_tokens)))
        log.info("%s: %d rows", name, rows)
    return _commit(out, entries, tokenizer.tokenizer_fingerprint(learned))


def pairs(store: StreamStore, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first `count` pairs of the store as token ids, int32 [pairs, tokens] of queries and of passages, a row group
    at a time, from all streams in turn."""
    left = count
    places = [(first, number) for number, stream in enumerate(store.streams) for first in _firsts(stream)]
    for first, number in sorted(places):
        stream = store.streams[number]
        rows = np.arange(first, min(first + ROW_GROUP_ROWS, stream.rows))
        for language in stream.languages:
            columns = [f"query.{language}", f"passage.{language}"]
            table = store.read(number, rows[:left], columns)
            queries, passages = (_matrix(table[column].combine_chunks()) for column in columns)
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
    rows: range,
    stream: int,
    languages: tuple[str, ...],
    config: ShufflerBenchmark,
    frequent: np.ndarray,
    chance: np.random.Generator,
) -> dict[str, Any]:
    """One file of a stream as `prepare` writes it; returns what the manifest says of it."""

    def table(first: int) -> pa.Table:
        count = min(ROW_GROUP_ROWS, rows.stop - first)
        columns: dict[str, pa.Array] = {"group": pa.array((stream << 40) + np.arange(first, first + count))}
        for language in languages:
            for role, tokens in (("query", config.query_tokens), ("passage", config.passage_tokens)):
                drawn = frequent[chance.integers(0, _QUANTILES, count * tokens, dtype=np.uint16)]
                offsets = np.arange(count + 1, dtype=np.int32) * tokens
                columns[f"{role}.{language}"] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(drawn))
            columns[f"negatives.{language}"] = pa.array([[]] * count, pa.list_(pa.list_(pa.int32())))
        return pa.table(columns)

    with storage.create(storage.join(out, path)) as file:
        one = table(rows.start)
        with pq.ParquetWriter(file, one.schema, compression="zstd", write_statistics=False) as writer:
            writer.write_table(one)
            for first in rows[ROW_GROUP_ROWS::ROW_GROUP_ROWS]:
                writer.write_table(table(first))
        return {"path": path, "rows": len(rows), "bytes": file.tell()}


def _entry(
    name: str,
    languages: tuple[str, ...] | list[str],
    rows: int,
    files: list[dict[str, Any]],
    tokens: tuple[int, ...] = (),
) -> dict[str, Any]:
    """What the manifest says of a stream whose texts all have the same lengths, those of query and passage."""
    counts = [[rows * count for count in lengths.histogram(np.array([length]))] for length in tokens]
    sides = dict(zip(("query", "passage"), counts, strict=False)) if tokens else {"query": [], "passage": []}
    return {
        "name": name,
        "source": "synthetic",
        "kind": "pairs",
        "languages": list(languages),
        "rows": rows,
        "files": files,
        "tokens": {language: [rows * length for length in tokens] or [0, 0] for language in languages},
        "lengths": dict.fromkeys(languages, sides),
    }


def _commit(out: str, streams: list[dict[str, Any]], fingerprint: str) -> StreamStore:
    body = {
        "row_group_rows": ROW_GROUP_ROWS,
        "tokenizer": {"fingerprint": fingerprint},
        "counts": {},
        "streams": streams,
    }
    storage.commit(out, "stream store", body)
    return StreamStore(out)
