"""Embeddings on storage: parquet parts of `id` and `vector`, each verified by its checksum when it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.config import UserError


def digest(uri: str) -> str:
    """The sha256 of the file.

    Raises:
        UserError: it is not there.
    """
    fs, path = storage.filesystem(uri)
    try:
        with fs.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None


def verify(uri: str, sha256: str) -> None:
    """Raises:
    UserError: the file is missing or has another checksum.
    """
    if digest(uri) != sha256:
        raise UserError(f"{uri} is corrupt: its checksum differs from the manifest's")


def write_part(uri: str, ids: list[str], vectors: np.ndarray, dtype: str) -> str:
    """Write ids and their vectors, [rows, width], as numbers of `dtype`; returns the file's sha256."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=dtype).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    storage.write_parquet(uri, pa.table({"id": pa.array(ids, pa.string()), "vector": column}))
    return digest(uri)


def read_part(folder: str, part: Mapping[str, Any]) -> tuple[pa.Array, np.ndarray]:
    """Ids, large_string [rows], and vectors, fp32 [rows, width], of one entry of the manifest's parts.

    Raises:
        UserError: the file is missing or corrupt.
    """
    uri = part_uri(folder, part["name"])
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None
    if hashlib.sha256(data).hexdigest() != part["sha256"]:
        raise UserError(f"{uri} is corrupt: its checksum differs from the manifest's")
    table = pq.read_table(pa.BufferReader(data))
    vectors = table["vector"].combine_chunks()
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    return table["id"].cast(pa.large_string()).combine_chunks(), matrix.astype(np.float32, copy=False)


def read_aligned(folder: str, ids: Sequence[str]) -> np.ndarray:
    """The vectors of `ids` in their order, fp32 [ids, width], from a folder that `encode` wrote.

    Raises:
        UserError: the folder is unfinished, a part is corrupt, or an id is not there.
    """
    manifest = storage.read_manifest(folder, "embeddings")
    place = {key: row for row, key in enumerate(ids)}
    vectors = np.full((len(ids), manifest["width"]), np.nan, dtype=np.float32)
    for part in manifest["parts"]:
        keys, matrix = read_part(folder, part)
        rows = np.array([place.get(key, -1) for key in keys.to_pylist()])
        vectors[rows[rows >= 0]] = matrix[rows >= 0]
    missing = np.flatnonzero(np.isnan(vectors[:, 0]))
    if len(missing):
        raise UserError(f"{folder} has no vector of {ids[missing[0]]}")
    return vectors


def part_uri(folder: str, name: str) -> str:
    return storage.join(folder, "parts", f"{name}.parquet")
