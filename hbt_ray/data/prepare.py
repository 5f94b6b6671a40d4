"""`prepare`: source files to a stream store, on Ray Data: check, tokenise once, shuffle by seed, manifest last."""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from ray.data import Dataset
from transformers import PreTrainedTokenizerBase

from hbt_ray import storage
from hbt_ray.config import PrepareConfig, UserError
from hbt_ray.data import languages, partition, records, tokenizer
from hbt_ray.data.sources import READERS, SUFFIXES
from hbt_ray.data.streams import StreamStore

LEARN_TEXTS = 100_000  # texts a vocabulary is learned from, and how much of each [characters]
LEARN_CHARACTERS = 300
log = logging.getLogger(__name__)


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Write the store; returns `{"out", "streams", "rows", "quarantined"}`. A finished store is left as it is.

    Raises:
        UserError: an input is missing or not what the source says, a tag names no language (unless `on_error` is
            `skip`), nothing usable is left, or `out` holds another run.
    """
    if config.source not in READERS:
        raise UserError(f"--source {config.source} is unknown; known: {', '.join(READERS)}")
    if config.language is not None and languages.normalize(config.language) is None:
        raise UserError(f"--language {config.language} is no known language tag")
    config = config.model_copy(
        update={"input": tuple(map(storage.absolute, config.input)), "out": storage.absolute(config.out)}
    )
    config = config.model_copy(update={"tokenizer": storage.model_name(config.tokenizer)})
    files = _input_files(config)
    learned = _pieces(config.tokenizer)
    named = tokenizer.load(config.tokenizer) if learned is None else None
    versions = storage.fingerprint([storage.version_of(file) for file in files if config.source in SUFFIXES])
    storage.claim(config.out, "prepare", {**config.model_dump(exclude={"out", "on_error"}), "input files": versions})
    if not storage.committed(config.out):
        storage.clear(storage.join(config.out, "quarantine"))  # of an attempt that was broken off
        _write_store(config, files, named or _learn_tokenizer(config, files, learned or 0))
    store = StreamStore(config.out)
    counts = store.manifest["counts"]
    for reason, count in counts["quarantined"].items():
        log.warning("quarantined: %d rows: %s", count, reason)
    return {
        "out": config.out,
        "streams": len(store.streams),
        "rows": counts["kept"],
        "quarantined": sum(counts["quarantined"].values()),
    }


def _input_files(config: PrepareConfig) -> list[str]:
    if config.source not in SUFFIXES:
        return [config.source]  # built in
    if not config.input:
        raise UserError(f"--input: source {config.source} needs files")
    return sorted({file for uri in config.input for file in storage.expand(uri, SUFFIXES[config.source])})


def _write_store(config: PrepareConfig, files: list[str], chosen: PreTrainedTokenizerBase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chosen.save_pretrained(folder)
        storage.upload(folder, storage.join(config.out, "tokenizer"))
    log.info("reading %d files, tokenising, shuffling into %d partitions", len(files), config.partitions)
    written = _collect(
        ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files))
        .map_batches(partial(_read_file, config=config), batch_size=1, batch_format="pyarrow")
        .groupby("partition", num_partitions=config.partitions)
        .map_groups(
            partial(partition.write, out=config.out, row_group_rows=config.row_group_rows), batch_format="pyarrow"
        ),
        config.out,
    )
    parts = [json.loads(row["entry"]) for row in written if row["entry"]]
    if not parts:
        raise UserError(f"no usable row in {', '.join(config.input) or config.source}; see {config.out}/quarantine")
    left_out = [json.loads(row["bad"]) for row in written if row["bad"]]
    if left_out:
        columns = records.QUARANTINE.empty_table().to_pydict()
        storage.write_parquet(
            storage.join(config.out, "quarantine", "groups.parquet"),
            pa.Table.from_pylist([{**dict.fromkeys(columns), **row} for row in left_out], schema=records.QUARANTINE),
        )
    reports = [storage.read_json(_report_uri(config.out, file)) for file in files]
    quarantined = Counter(row["reason"] for row in left_out)
    for report in reports:
        quarantined.update(report["quarantined"])
    storage.commit(
        config.out,
        "stream store",
        {
            "source": config.source,
            "seed": config.seed,
            "row_group_rows": config.row_group_rows,
            "tokenizer": {"fingerprint": tokenizer.fingerprint(chosen), "pieces": len(chosen)},
            "counts": {
                "files": len(files),
                "read": sum(report["read"] for report in reports),
                "kept": sum(report["kept"] for report in reports) - len(left_out),
                "quarantined": dict(quarantined.most_common()),
            },
            "streams": _merge(parts),
        },
    )


def _merge(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The streams, by name, of what each partition wrote."""
    streams: dict[str, dict[str, Any]] = {}
    for part in sorted(parts, key=lambda part: str(part["file"]["path"])):
        name = part["file"]["path"].split("/", 1)[1].rsplit("/", 1)[0]
        stream = streams.setdefault(name, {"name": name, **part, "rows": 0, "files": [], "tokens": {}})
        stream.pop("file", None)
        stream["files"].append(part["file"])
        stream["rows"] += part["file"]["rows"]
        for language, counts in part["tokens"].items():
            before = stream["tokens"].get(language, [0, 0])
            stream["tokens"][language] = [before[0] + counts[0], before[1] + counts[1]]
    return [streams[name] for name in sorted(streams)]


def _pieces(name: str) -> int | None:
    """N of `train:N`, or None for the name of a tokenizer."""
    if not name.startswith("train:"):
        return None
    pieces = name.partition(":")[2]
    if not pieces.isdigit() or int(pieces) < 100:
        raise UserError(f"--tokenizer {name}: train:N needs N of at least 100 pieces")
    return int(pieces)


def _learn_tokenizer(config: PrepareConfig, files: list[str], pieces: int) -> PreTrainedTokenizerBase:
    log.info("learning a vocabulary of %d pieces", pieces)
    sample = _collect(
        ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files)).map_batches(
            partial(_sample_texts, config=config, most=max(LEARN_TEXTS // len(files), 1000)),
            batch_size=1,
            batch_format="pyarrow",
        ),
        config.out,
    )
    if not sample:
        raise UserError(f"no usable row in {', '.join(config.input) or config.source}")
    try:
        return tokenizer.learn(sorted(row["text"] for row in sample), pieces)
    except RuntimeError as error:  # sentencepiece: fewer pieces asked for than there are characters
        raise UserError(f"--tokenizer {config.tokenizer}: {' '.join(str(error).split())}") from None


def _collect(dataset: Dataset, out: str) -> list[dict[str, Any]]:
    """All rows of `dataset`.

    Raises:
        UserError: a task met a bad file. It leaves the line on storage and the others stop early, since an exception in
            a task reaches the user as Ray Data's, with its traceback.
    """
    rows: list[dict[str, Any]] = dataset.take_all()
    if storage.exists(_error_uri(out)):
        raise UserError(storage.read_json(_error_uri(out))["error"])
    return rows


def _checked(file: str, config: PrepareConfig) -> Iterator[records.Checked]:
    """The file's batches, checked.

    What `prepare` raises as UserError ends the batches and is left on storage for it; with `on_error` `skip` a bad file
    ends in one quarantined row instead.
    """
    if storage.exists(_error_uri(config.out)):
        return
    try:
        for table in READERS[config.source](file, config.language):
            checked = records.check(table, file)
            if checked.unknown_language and config.on_error == "fail":
                raise UserError(checked.unknown_language)
            yield checked
    except UserError as error:
        if config.on_error == "fail":
            storage.write_json(_error_uri(config.out), {"error": str(error)})
            return
        row = {"file": file, "row": None, "reason": str(error), "query": None, "passage": None}
        bad = pa.Table.from_pylist([row], schema=records.QUARANTINE)
        yield records.Checked(records.RECORDS.empty_table(), bad, None)


def _sample_texts(batch: pa.Table, config: PrepareConfig, most: int) -> Iterator[pa.Table]:
    """At most `most` texts of a file, the same for the same seed, one column `text`."""
    file = batch["file"][0].as_py()
    for checked in _checked(file, config):
        good = checked.good
        order = partition.shuffle_order(
            partition.group_ids(good["source"], good["group"], file, good["row"]), config.seed + 1
        )
        chosen = good.take(pa.array(np.argsort(order, kind="stable")[: max(most // 2, 1)]))
        texts = pa.concat_arrays([chosen[name].combine_chunks() for name in ("query", "passage")])
        yield pa.table({"text": pc.utf8_slice_codeunits(texts, 0, LEARN_CHARACTERS)})
        most -= len(texts)
        if most <= 0:
            return
    yield pa.table({"text": pa.array([], pa.string())})  # so that a file without a good row has a schema too


def _read_file(batch: pa.Table, config: PrepareConfig) -> Iterator[pa.Table]:
    """Check and tokenise one file; its bad rows go to `quarantine/`, its counts beside them."""
    file = batch["file"][0].as_py()
    tokens_of = _load_tokenizer(storage.join(config.out, "tokenizer"))
    read = kept = 0
    bad = []
    for checked in _checked(file, config):
        read += checked.good.num_rows + checked.bad.num_rows
        kept += checked.good.num_rows
        bad.append(checked.bad)
        if checked.good.num_rows:
            yield _tokenise(checked.good, tokens_of, file, config)
    quarantined = pa.concat_tables([records.QUARANTINE.empty_table(), *bad])
    if quarantined.num_rows:
        storage.write_parquet(_report_uri(config.out, file, ".parquet"), quarantined)
    reasons = Counter(quarantined["reason"].to_pylist())
    storage.write_json(
        _report_uri(config.out, file), {"file": file, "read": read, "kept": kept, "quarantined": dict(reasons)}
    )
    yield partition.TOKENISED.empty_table()  # so that a file without a good row has a schema too


def _tokenise(good: pa.Table, tokens_of: PreTrainedTokenizerBase, file: str, config: PrepareConfig) -> pa.Table:
    def tokens(texts: list[str]) -> pa.Array:
        return pa.array(tokenizer.tokenize(tokens_of, texts, config.max_tokens), pa.list_(pa.int32()))

    bitext = good["bitext"].to_numpy()
    negatives = good["negatives"].combine_chunks()
    return partition.as_tokenised(
        good,
        file,
        config.seed,
        config.partitions,
        query=tokens(good["query"].to_pylist()),
        passage=pc.if_else(pa.array(bitext), None, tokens(_unless(bitext, good["passage"].to_pylist()))),
        negatives=pa.ListArray.from_arrays(negatives.offsets, tokens(negatives.values.to_pylist())),
    )


def _unless(skipped: np.ndarray, texts: list[str]) -> list[str]:
    """The texts, emptied where they are not needed."""
    return ["" if skip else text for skip, text in zip(skipped, texts, strict=True)]


@lru_cache(maxsize=2)
def _load_tokenizer(uri: str) -> PreTrainedTokenizerBase:
    return tokenizer.load(uri)


def _error_uri(out: str) -> str:
    return storage.join(out, "quarantine", "error.json")


def _report_uri(out: str, file: str, suffix: str = ".json") -> str:
    return storage.join(out, "quarantine", storage.fingerprint(file) + suffix)
