"""Embeddings on storage: parquet parts, each verified by its checksum when it is read.

Columns are `id` (`lang:docid`), `lang`, `docid` and `vector`; parts made earlier have `id` and `vector` alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.config import UserError

# How the numbers of a vector lie in the column, by the `dtype` of the settings; manifests say it too.
FORMATS = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "uint16: the upper half of a float32's bits, rounded to even",
    "int8": "int8: a unit vector times 127 / its largest number, rounded; reading makes it of length 1 again",
}


def verify(uri: str, sha256: str) -> None:
    """Check the sha256 of a file.

    Raises:
        UserError: the file is missing or has another checksum.
    """
    if storage.digest(uri) != sha256:
        raise UserError(f"{uri} is corrupt: its checksum differs from the manifest's")


def write_table(uri: str, table: pa.Table) -> str:
    """Write a parquet file; returns its sha256, of what was to be written, so that a faulty copy is found."""
    data = io.BytesIO()
    pq.write_table(table, data, compression="zstd")
    storage.write_bytes(uri, data.getvalue())
    return hashlib.sha256(data.getvalue()).hexdigest()


def read_table(uri: str, sha256: str) -> pa.Table:
    """The table of a parquet file.

    Raises:
        UserError: the file is missing or corrupt.
    """
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{uri} is corrupt: its checksum differs from the manifest's")
    return pq.read_table(pa.BufferReader(data))


def write_part(uri: str, ids: list[str], vectors: np.ndarray, dtype: str) -> str:
    """Write ids and their vectors, fp32 [rows, width], as numbers of `dtype`; returns the file's sha256.

    For other tools, the language and the id without it are columns of their own.
    """
    flat = pa.array(np.ascontiguousarray(pack_vectors(vectors, dtype)).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    tags, _, docids = zip(*(key.partition(":") for key in ids), strict=True) if ids else ((), (), ())
    named = {"id": ids, "lang": tags, "docid": docids}
    strings = {name: pa.array(values, pa.string()) for name, values in named.items()}
    return write_table(uri, pa.table({**strings, "vector": column}))


def read_part(folder: str, part: Mapping[str, Any]) -> tuple[pa.Array, np.ndarray]:
    """The ids, large_string [rows], and vectors, fp32 [rows, width], of one entry of the manifest's parts.

    Raises:
        UserError: the file is missing or corrupt.
    """
    table = read_table(part_uri(folder, part["name"]), part["sha256"])
    vectors = table["vector"].combine_chunks()
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    return table["id"].cast(pa.large_string()).combine_chunks(), unpack_vectors(matrix)


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
    """The file of a part [URI]."""
    return storage.join(folder, "parts", f"{name}.parquet")


def pack_vectors(vectors: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers of vectors, fp32 [rows, width], as `FORMATS` has them for `dtype`, [rows, width]."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(vectors, dtype=np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    if dtype == "int8":
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
        return np.rint(vectors * np.divide(127, largest, out=np.zeros_like(largest), where=largest > 0)).astype(np.int8)
    return vectors.astype(dtype, copy=False)


def unpack_vectors(matrix: np.ndarray) -> np.ndarray:
    """The vectors, fp32 [rows, width], of stored numbers, [rows, width], whose type tells their format."""
    if matrix.dtype == np.uint16:
        return (matrix.astype(np.uint32) << 16).view(np.float32)
    if matrix.dtype == np.int8:
        whole = matrix.astype(np.float32)
        lengths = np.linalg.norm(whole, axis=1, keepdims=True)
        return np.divide(whole, lengths, out=whole, where=lengths > 0)
    return matrix.astype(np.float32, copy=False)
