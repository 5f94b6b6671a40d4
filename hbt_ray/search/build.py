"""Embedding parts to FAISS shards, one or more a language, their documents in descending order of id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import numpy as np
import ray

from hbt_ray import storage
from hbt_ray.arrays import blocks
from hbt_ray.cluster import largest_node
from hbt_ray.config import IndexConfig, UserError
from hbt_ray.encode import collection
from hbt_ray.search import approximate, knobs, recall, sample, store
from hbt_ray.search.factory import create_index, train_index, try_index
from hbt_ray.search.groups import PartGroup, cut_groups, embeddings_manifest, read_group

OWNS = ("shards", "recall.json", "manifest.json")  # what it makes in its folder
ADD_ROWS = 65536  # put into an approximate index at once


def build_index(config: IndexConfig) -> dict[str, Any]:
    """Build the shards of an index, each by a Ray task, and measure an approximate one if there are queries.

    Returns: `out`, `rows`, `width`, `languages` and `shards` (their numbers), and `recall` if measured: by language, at
        the operating points.

    Raises:
        UserError: the embeddings are unfinished, empty or corrupt, `out` holds another run, FAISS does not know the
            factory string, or training or a shard fits on no node.
    """
    source, out = collection.pinned(config.embeddings), config.out
    storage.refuse_overlap(out, [config.embeddings, *([config.queries] if config.queries else [])])
    manifest = embeddings_manifest(source)
    index = create_index(config.factory, manifest["width"])
    run = {**config.model_dump(mode="json", exclude={"out"}), "checksum": manifest["checksum"]}
    with storage.claimed(out, "index", run, OWNS):
        if not storage.committed(out):
            _write_index(config, source, manifest, index)
    made = store.manifest_of(out)
    measured = {"recall": made["operating_points"]} if made["operating_points"] else {}
    return {"out": config.out, "rows": made["rows"], "width": made["width"],
            "languages": len({shard["language"] for shard in made["shards"]}),
            "shards": len(made["shards"]), **measured}  # fmt: skip


def _write_index(config: IndexConfig, source: str, manifest: dict[str, Any], index: faiss.Index) -> None:
    out, queries = config.out, config.queries
    whole = isinstance(index, faiss.IndexFlat)
    groups = cut_groups(manifest["parts"], config.shard_rows)
    needs = [_memory(group, index, whole) for group in groups]
    _refuse_too_large(f"a shard of {groups[int(np.argmax(needs))].language}", max(needs))
    empty = None if whole else _train(source, manifest, config, index)
    task = ray.remote(_build_shard)
    shards = ray.get([
        task.options(memory=need).remote(source, out, f"{number:06d}-{group.language}", group, empty, index.d)
        for number, (group, need) in enumerate(zip(groups, needs, strict=True))
    ])  # fmt: skip
    points = {} if whole or queries is None else _measure(source, out, manifest, shards, queries, config)
    if points:
        settle = ray.remote(_settle)
        shards = ray.get([
            settle.options(memory=2 * int(shard["bytes"])).remote(out, shard, index.d, points, knobs.usual(index))
            for shard in shards
        ])  # fmt: skip
    body = {key: manifest[key] for key in ("model", "model_fingerprint", "role", "width", "rows")}
    body["encoder"] = manifest.get("encoder")
    built = {"embeddings": source, "factory": config.factory, "exact": whole, "operating_points": points}
    storage.commit(out, "index", {**body, **built, "shards": shards})


def _train(source: str, manifest: dict[str, Any], config: IndexConfig, index: faiss.Index) -> Any:
    """Reference to the bytes of the index, trained on a sample of all languages and empty."""
    needed = approximate.training_bytes(index, min(config.train_rows, manifest["rows"]))
    if not index.is_trained:
        _refuse_too_large(f"training on {config.train_rows} vectors", needed)
    trained = ray.remote(_trained).options(memory=needed).remote(source, manifest, config)
    ray.get(trained)  # a user's mistake shows here, before it is disguised as one of the shards'
    return trained


def _trained(source: str, manifest: dict[str, Any], config: IndexConfig) -> np.ndarray:
    index = create_index(config.factory, manifest["width"])
    if not index.is_trained:
        train_index(index, sample.draw(source, manifest, config.train_rows), config.factory)
    knobs.turn(index, knobs.usual(index))
    trained: np.ndarray = faiss.serialize_index(index)
    try_index(trained, config.factory)
    return trained


def _build_shard(
    source: str, out: str, name: str, group: PartGroup, empty: np.ndarray | None, width: int
) -> dict[str, Any]:
    """Build and write one shard, exact unless `empty` has the bytes of a trained index."""
    if empty is None:
        flat = faiss.IndexFlatIP(width)
        flat.codes.resize(group.rows * width * 4)  # filled in place: the vectors are in memory once
        flat.ntotal = group.rows
        return store.write_shard(out, name, group.language, flat, read_group(source, group, store.vectors_of(flat)))
    index = faiss.deserialize_index(empty)
    vectors = np.empty((group.rows, width), dtype=np.float32)
    ids = read_group(source, group, vectors)
    for block in blocks(group.rows, ADD_ROWS):
        index.add(vectors[block])
    return store.write_shard(out, name, group.language, index, ids)


def _measure(
    source: str, out: str, manifest: dict[str, Any], shards: Sequence[dict[str, Any]], queries: str, config: IndexConfig
) -> dict[str, Any]:
    """Write recall.json beside the shards; returns the operating points."""
    asked = embeddings_manifest(queries)
    for key in ("model", "width"):
        if asked[key] != manifest[key]:
            raise UserError(f"--queries {queries}: their {key} is {asked[key]} and the index's is {manifest[key]}")
    found = recall.measure_recall(
        out, shards, source, sample.draw(queries, asked, config.recall_queries), config.recall_k
    )
    storage.write_json(storage.join(out, "recall.json"), found)
    points: dict[str, Any] = found["operating_points"]
    return points


def _settle(
    out: str, shard: dict[str, Any], width: int, points: Mapping[str, Mapping[str, Any]], written: int | None
) -> dict[str, Any]:
    """Write the measured value of its knob into a shard, for other tools that open it; returns its entry.

    Args:
        points: operating points of every language.
        written: the value that the file has.
    """
    value = points[shard["language"]][recall.USUAL]["value"]
    if value == written:
        return shard
    loaded = store.load_shard(out, shard, width)
    assert isinstance(loaded, approximate.Approximate)
    knobs.turn(loaded.index, value)
    return store.write_shard(out, shard["name"], shard["language"], loaded.index, loaded.ids)


def _memory(group: PartGroup, index: faiss.Index, whole: bool) -> int:
    """Bytes that building one shard takes."""
    built = 0 if whole else group.rows * approximate.row_bytes(index) + approximate.centroid_bytes(index)
    return group.memory(index.d) + built


def _refuse_too_large(what: str, needed: int) -> None:
    there = largest_node("memory")
    if needed > there:
        raise UserError(
            f"{what} takes {needed / 2**30:.1f} GiB to build and no node of the cluster has more than"
            f" {there / 2**30:.1f} GiB; --shard-rows makes shards smaller and --train-rows training"
        )
