"""Embedding parts to one exact FAISS shard per language, its documents in descending order of id."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from hbt_ray import storage
from hbt_ray.config import IndexConfig, UserError
from hbt_ray.index import embeddings

LOG = logging.getLogger(__name__)
ADD_ROWS = 65536  # copied at once into the index
ID_BYTES = 128  # of memory for one id while a shard is built


def build(config: IndexConfig) -> dict[str, Any]:
    """Build the shards of an index, one Ray task per language.

    Returns: `out`, `rows`, `width` and `languages` (their number).

    Raises:
        UserError: the embeddings are unfinished or corrupt, `out` holds another run, or a shard fits on no node.
    """
    source, out = storage.absolute(config.embeddings), storage.absolute(config.out)
    manifest = storage.read_manifest(source, "embeddings")
    storage.claim(out, "index", {"embeddings": source, "checksum": manifest["checksum"]})
    if not storage.committed(out):
        parts = defaultdict(list)
        for part in manifest["parts"]:
            parts[part["language"]].append(part)
        needs = {language: _memory(group, manifest["width"]) for language, group in parts.items()}
        _refuse_too_large(needs)
        task = ray.remote(_build_shard)
        shards = ray.get([
            task.options(memory=needs[language]).remote(source, out, language, group, manifest["width"])
            for language, group in sorted(parts.items())
        ])  # fmt: skip
        body = {key: manifest[key] for key in ("model", "model_fingerprint", "role", "width", "rows")}
        storage.commit(out, "index", {**body, "shards": shards})
    return {"out": config.out, "rows": manifest["rows"], "width": manifest["width"],
            "languages": len(manifest["rows_by_language"])}  # fmt: skip


def read_shard(index: str, shard: Mapping[str, Any]) -> tuple[faiss.IndexFlatIP, pa.Array]:
    """The FAISS index and the ids, large_string [rows], of one entry of the manifest's shards.

    Raises:
        UserError: a file is missing or corrupt.
    """
    faiss_uri, ids_uri = _uris(index, shard["language"])
    embeddings.verify(faiss_uri, shard["sha256"])
    embeddings.verify(ids_uri, shard["ids_sha256"])
    fs, path = storage.filesystem(faiss_uri)
    with fs.open(path, "rb") as file:
        # faiss's type stubs know neither the callbacks nor that the kind written is the kind read
        vectors: faiss.IndexFlatIP = faiss.read_index(faiss.PyCallbackIOReader(file.read))  # type: ignore
    return vectors, storage.read_parquet(ids_uri)["id"].cast(pa.large_string()).combine_chunks()


def _build_shard(
    source: str, out: str, language: str, parts: Sequence[Mapping[str, Any]], width: int
) -> dict[str, Any]:
    rows = sum(part["rows"] for part in parts)
    vectors = np.empty((rows, width), dtype=np.float32)
    ids, start = [], 0
    for part in parts:
        keys, matrix = embeddings.read_part(source, part)
        vectors[start : start + len(keys)] = matrix
        ids.append(keys)
        start += len(keys)
    keys = pa.concat_arrays(ids)
    order = pc.array_sort_indices(keys, order="descending").to_numpy()
    index = faiss.IndexFlatIP(width)
    for first in range(0, rows, ADD_ROWS):
        index.add(vectors[order[first : first + ADD_ROWS]])
    faiss_uri, ids_uri = _uris(out, language)
    storage.write(
        faiss_uri,
        lambda file: faiss.write_index(index, faiss.PyCallbackIOWriter(file.write)),  # type: ignore[attr-defined]
    )
    storage.write_parquet(ids_uri, pa.table({"id": keys.take(order)}))
    return {
        "language": language,
        "rows": rows,
        "sha256": embeddings.digest(faiss_uri),
        "ids_sha256": embeddings.digest(ids_uri),
    }


def _memory(parts: Sequence[Mapping[str, Any]], width: int) -> int:
    """Bytes that building one shard takes: the vectors twice, as read and as indexed, and the ids."""
    rows = sum(int(part["rows"]) for part in parts)
    return rows * (2 * width * 4 + ID_BYTES)


def _refuse_too_large(needs: Mapping[str, int]) -> None:
    largest = max(needs, key=lambda language: needs[language])
    there = max(node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"])
    if needs[largest] > there:
        raise UserError(
            f"the shard of {largest} takes {needs[largest] / 2**30:.1f} GiB to build"
            f" and no node of the cluster has more than {there / 2**30:.1f} GiB"
        )


def _uris(index: str, language: str) -> tuple[str, str]:
    folder = storage.join(index, "shards")
    return storage.join(folder, f"{language}.faiss"), storage.join(folder, f"{language}.ids.parquet")
