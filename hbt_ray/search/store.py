"""A shard on storage: a FAISS file and the ids of its rows, both verified by their checksums when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import faiss
import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from hbt_ray import storage
from hbt_ray.config import Recall, UserError
from hbt_ray.encode import embeddings
from hbt_ray.search import candidates, exact
from hbt_ray.search.approximate import Approximate
from hbt_ray.search.flat import Flat
from hbt_ray.storage.fields import Below, Count, Hash, Shape, Size

TABLE_BYTES = 2**31  # of an IVFPQ's precomputed table, at most: a larger one FAISS does without


def vectors_of(index: faiss.IndexFlat) -> np.ndarray:
    """The vectors in the memory of the index itself, fp32 [rows, width]."""
    numbers: np.ndarray = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return numbers.reshape(index.ntotal, index.d)


class _Point(Shape):
    value: int | None
    recall: float


class _Shard(Shape):
    name: Annotated[Below, Field(pattern="^[^/]+$")]
    language: str
    rows: Count
    bytes: Count
    sha256: Hash
    ids_sha256: Hash


class _Manifest(Shape):
    model: str
    model_fingerprint: str
    role: Literal["query", "passage"]
    width: Size
    rows: Count
    encoder: dict[str, Any] | None = None
    embeddings: str
    factory: str
    exact: bool
    operating_points: dict[str, dict[Recall, _Point]]
    shards: list[_Shard]

    @model_validator(mode="after")
    def _covers_targets(self) -> _Manifest:
        if any(set(points) != set(get_args(Recall)) for points in self.operating_points.values()):
            raise ValueError(f"operating_points has not what reaches {', '.join(get_args(Recall))} for each language")
        return self


def manifest_of(index: str) -> dict[str, Any]:
    """The manifest of the index in a folder [URI].

    Raises:
        UserError: there is no finished index.
    """
    return storage.read_manifest(index, "index", _Manifest)


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


def load_shard(folder: str, entry: Mapping[str, Any], width: int, gpus: bool = False) -> Flat | Approximate:
    """Load one entry of the manifest's shards.

    Args:
        width: of its vectors.
        gpus: search an exact one on the GPUs of this process.

    Raises:
        UserError: a file is missing or corrupt, or not what the manifest says of it, or the shard does not fit onto the
            GPUs.
    """
    faiss_uri, ids_uri = _uris(folder, entry["name"])
    embeddings.verify(faiss_uri, entry["sha256"])
    embeddings.verify(ids_uri, entry["ids_sha256"])
    fs, path = storage.filesystem(faiss_uri)
    try:
        index = _read_index(fs, path)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"{faiss_uri} is no FAISS index: {error}") from None
    ids = embeddings.column(storage.read_parquet(ids_uri), "id", ids_uri).cast(pa.large_string())
    about = (index.d, index.ntotal, len(ids), index.metric_type)
    if about != (width, entry["rows"], entry["rows"], faiss.METRIC_INNER_PRODUCT):
        raise UserError(f"{faiss_uri} does not hold the {entry['rows']:,} vectors of {width} numbers that it should")
    if not isinstance(index, faiss.IndexFlat):
        return Approximate(index, ids)
    vectors = vectors_of(index)
    norm = exact.largest_norm(vectors)
    return Flat(vectors, ids, norm, index, candidates.on_gpus(index, norm) if gpus else None)


def _read_index(fs: Any, path: str) -> Any:
    """The FAISS index in a file, in which nothing can be larger than the file, but for one table that is made of it."""
    usual = faiss.get_deserialization_vector_byte_limit()  # of the process

    def read(limit: int) -> Any:
        faiss.set_deserialization_vector_byte_limit(limit)
        with fs.open(path, "rb") as file:
            return faiss.read_index(faiss.PyCallbackIOReader(file.read))  # type: ignore

    size = fs.size(path)
    try:
        return read(size)
    except RuntimeError as error:
        if "precomputed_table" not in str(error):
            raise
        return read(max(size, TABLE_BYTES))
    finally:
        faiss.set_deserialization_vector_byte_limit(usual)


def _uris(folder: str, name: str) -> tuple[str, str]:
    shards = storage.join(folder, "shards")
    return storage.join(shards, f"{name}.faiss"), storage.join(shards, f"{name}.ids.parquet")
