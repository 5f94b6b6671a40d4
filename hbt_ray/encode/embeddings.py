"""Embeddings on storage: parquet parts, each verified by its checksum when it is read.

Columns are `id` (`lang:docid`), `lang`, `docid` and `vector`; parts made earlier have `id` and `vector` alone. What a
collection has removed stays in the file of its part, and whatever reads the part here leaves it out.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.encode import collection

# How the numbers of a vector lie in the column, by the `dtype` of the settings; manifests say it too.
FORMATS = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "uint16: the upper half of a float32's bits, rounded to even",
    "int8": "int8: a unit vector times 127 / its largest number, rounded; reading makes it of length 1 again",
}
NUMBERS = ("float", "halffloat", "uint16", "int8")  # the same as Arrow calls them


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
    with storage.parquet_errors(uri):
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


def read_part(source: str, part: Mapping[str, Any], width: int | None = None) -> tuple[pa.Array, np.ndarray]:
    """The ids, large_string [rows], and vectors, fp32 [rows, width], of one entry of the manifest's parts.

    Args:
        source: the collection [URI].
        width: that the vectors have to have; None: any.

    Raises:
        UserError: the file is missing or corrupt, or not what the manifest says of it.
    """
    uri = part_uri(source, part)
    table = living(read_table(uri, part["sha256"]), part, uri)
    vectors = column(table, "vector", uri)
    kind = vectors.type
    numbers = pa.types.is_fixed_size_list(kind) and str(kind.value_type) in NUMBERS and not vectors.values.null_count
    if not numbers or width not in (None, kind.list_size):
        raise UserError(f"{uri} has no vectors of {width or 'some'} numbers")
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    return column(table, "id", uri).cast(pa.large_string()), unpack_vectors(matrix)


def read_ids(source: str, part: Mapping[str, Any]) -> pa.Array:
    """The ids, large_string [rows], of one entry of the manifest's parts, as `read_part` has them.

    Raises:
        UserError: the file is missing or no parquet.
    """
    uri = part_uri(source, part)
    return column(living(storage.read_parquet(uri, ["id"]), part, uri), "id", uri).cast(pa.large_string())


def read_aligned(source: str, ids: Sequence[str]) -> np.ndarray:
    """The vectors of `ids` in their order, fp32 [ids, width], from a collection.

    Raises:
        UserError: it is unfinished, a part is corrupt, or an id is not there.
    """
    manifest = collection.manifest_of(source)
    place = {key: row for row, key in enumerate(ids)}
    vectors = np.full((len(ids), manifest["width"]), np.nan, dtype=np.float32)
    for part in manifest["parts"]:
        keys, matrix = read_part(source, part, manifest["width"])
        rows = np.array([place.get(key, -1) for key in keys.to_pylist()])
        vectors[rows[rows >= 0]] = matrix[rows >= 0]
    missing = np.flatnonzero(np.isnan(vectors[:, 0]))
    if len(missing):
        raise UserError(f"{source} has no vector of {ids[missing[0]]}")
    return vectors


def part_uri(source: str, part: Mapping[str, Any] | str) -> str:
    """The file of an entry of the manifest's parts, or of a part of this name in a folder made earlier [URI]."""
    file = f"parts/{part}.parquet" if isinstance(part, str) else part.get("file", f"parts/{part['name']}.parquet")
    return storage.join(collection.folder_of(source), file)


def pack_removed(removed: np.ndarray) -> str:
    """Which rows of a part's file are removed, bool [rows], as an entry of the manifest says it: bits in base64."""
    return base64.b64encode(np.packbits(removed).tobytes()).decode()


def removed_rows(part: Mapping[str, Any]) -> np.ndarray:
    """Which rows of the file of a manifest's entry are removed, bool [rows]."""
    rows = part.get("stored_rows", part["rows"])
    if "removed" not in part:
        return np.zeros(rows, dtype=bool)
    bits = np.frombuffer(base64.b64decode(part["removed"]), np.uint8)
    return np.unpackbits(bits, count=rows).astype(bool)


def living(table: pa.Table, part: Mapping[str, Any], uri: str) -> pa.Table:
    """The rows that have not been removed.

    Raises:
        UserError: the file has other numbers of rows than its entry says.
    """
    stored = len(table)
    if "removed" in part and stored == part["stored_rows"]:
        table = table.filter(pa.array(~removed_rows(part)))
    if (stored, len(table)) != (part.get("stored_rows", stored), part.get("rows", len(table))):
        raise UserError(f"{uri} has {stored:,} rows, which are not those that its collection says")
    return table


def column(table: pa.Table, name: str, uri: str) -> pa.Array:
    """A column without nulls, of strings but for that of the vectors.

    Raises:
        UserError: there is none.
    """
    found = table[name].combine_chunks() if name in table.column_names else pa.nulls(1)
    if found.null_count or (name != "vector") != (
        pa.types.is_string(found.type) or pa.types.is_large_string(found.type)
    ):
        raise UserError(f"{uri} has no column {name} as a collection has it")
    return found


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
