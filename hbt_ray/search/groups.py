"""Embedding parts in groups of bounded size, each of one language, read into one matrix in descending order of ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray.config import UserError
from hbt_ray.encode import collection, embeddings

ID_BYTES = 128  # of memory for one id while ids are put in order
PART_NUMBER_BYTES = 12  # of memory for a number of the part that is being read: file, table and fp32


class PartSlice(NamedTuple):
    """The rows [start, stop) of one entry of the manifest's parts."""

    part: Mapping[str, Any]
    start: int
    stop: int


class PartGroup(NamedTuple):
    """Pieces of embedding parts, all of one language."""

    language: str
    pieces: list[PartSlice]

    @property
    def rows(self) -> int:
        """The number of vectors."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    def memory(self, width: int) -> int:
        """The memory that `read_group` takes, the matrix included [bytes]."""
        largest = max(int(piece.part.get("stored_rows", piece.part["rows"])) for piece in self.pieces)
        return self.rows * (width * 4 + ID_BYTES) + largest * width * PART_NUMBER_BYTES


def cut_groups(parts: Iterable[Mapping[str, Any]], rows: int) -> list[PartGroup]:
    """All rows of the parts, in groups of at most `rows` rows, by language and then in order."""
    by_language: dict[str, list[PartGroup]] = defaultdict(list)
    for part in parts:
        groups, start = by_language[part["language"]], 0
        while start < part["rows"]:
            if not groups or groups[-1].rows >= rows:
                groups.append(PartGroup(part["language"], []))
            stop = min(part["rows"], start + rows - groups[-1].rows)
            groups[-1].pieces.append(PartSlice(part, start, stop))
            start = stop
    return [group for language in sorted(by_language) for group in by_language[language]]


def read_group(source: str, group: PartGroup, vectors: np.ndarray) -> pa.Array:
    """Fill `vectors`, fp32 [rows of the group, width], part by part; returns the rows' ids, large_string, descending.

    Raises:
        UserError: a part is missing or corrupt.
    """
    pieces = [embeddings.read_ids(source, piece.part)[piece.start : piece.stop] for piece in group.pieces]
    ids = pa.concat_arrays(pieces)
    order = pc.array_sort_indices(ids, order="descending")
    places = np.empty(len(ids), dtype=np.int64)
    places[order.to_numpy()] = np.arange(len(ids))
    start = 0
    for piece in group.pieces:
        matrix = embeddings.read_part(source, piece.part, vectors.shape[1])[1][piece.start : piece.stop]
        vectors[places[start : start + len(matrix)]] = matrix
        start += len(matrix)
    return ids.take(order)


def embeddings_manifest(source: str) -> dict[str, Any]:
    """The manifest of a collection.

    Raises:
        UserError: it is unfinished or holds no vector.
    """
    manifest = collection.manifest_of(source)
    if not manifest["rows"]:
        raise UserError(f"{source} holds no vectors")
    return manifest
