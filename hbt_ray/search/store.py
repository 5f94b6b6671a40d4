"""A shard on storage: a FAISS file and the ids of its rows, both verified by their checksums when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.encode import embeddings
from hbt_ray.search import candidates, exact
from hbt_ray.search.approximate import Approximate
from hbt_ray.search.flat import Flat


def vectors_of(index: faiss.IndexFlat) -> np.ndarray:
    """The vectors in the memory of the index itself, fp32 [rows, width]."""
    numbers: np.ndarray = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return numbers.reshape(index.ntotal, index.d)


def write_shard(folder: str, name: str, language: str, index: faiss.Index, ids: pa.Array) -> dict[str, Any]:
    """Write one shard, whose rows are in descending order of `ids`, large_string [rows]; returns its manifest entry."""
    faiss_uri, ids_uri = _uris(folder, name)
    # faiss's type stubs do not know the callbacks
    storage.write(faiss_uri, lambda file: faiss.write_index(index, faiss.PyCallbackIOWriter(file.write)))  # type: ignore
    storage.write_parquet(ids_uri, pa.table({"id": ids}))
    return {
        "name": name,
        "language": language,
        "rows": len(ids),
        "bytes": storage.size(faiss_uri),
        "sha256": storage.digest(faiss_uri),
        "ids_sha256": storage.digest(ids_uri),
    }


def load_shard(folder: str, entry: Mapping[str, Any], gpus: bool = False) -> Flat | Approximate:
    """Load one entry of the manifest's shards.

    Args:
        gpus: search an exact one on the GPUs of this process.

    Raises:
        UserError: a file is missing or corrupt, or the shard does not fit onto the GPUs.
    """
    faiss_uri, ids_uri = _uris(folder, entry["name"])
    embeddings.verify(faiss_uri, entry["sha256"])
    embeddings.verify(ids_uri, entry["ids_sha256"])
    fs, path = storage.filesystem(faiss_uri)
    with fs.open(path, "rb") as file:
        index = faiss.read_index(faiss.PyCallbackIOReader(file.read))  # type: ignore
    ids = storage.read_parquet(ids_uri)["id"].cast(pa.large_string()).combine_chunks()
    if not isinstance(index, faiss.IndexFlat):
        return Approximate(index, ids)
    vectors = vectors_of(index)
    norm = exact.largest_norm(vectors)
    return Flat(vectors, ids, norm, index, candidates.on_gpus(index, norm) if gpus else None)


def _uris(folder: str, name: str) -> tuple[str, str]:
    shards = storage.join(folder, "shards")
    return storage.join(shards, f"{name}.faiss"), storage.join(shards, f"{name}.ids.parquet")
