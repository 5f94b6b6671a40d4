"""A collection, or an index of one, as it is served: the pieces of it that replicas hold, and where its texts are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hbt_ray import storage
from hbt_ray.config import Recall, UserError
from hbt_ray.encode import collection
from hbt_ray.search import exact, store
from hbt_ray.search.approximate import Approximate
from hbt_ray.search.flat import Flat
from hbt_ray.search.groups import ID_BYTES, PartGroup, cut_groups, embeddings_manifest, read_group
from hbt_ray.search.ranking import in_order
from hbt_ray.search.recall import shortfall

PIECE_ROWS = 1_000_000  # of a collection, which is held in pieces of one language
log = logging.getLogger(__name__)


class Piece(NamedTuple):
    """Documents of one language that are searched as one.

    Attributes:
        memory: what it takes to load and hold them [bytes].
        source: where they are: parts of a collection, or an entry of an index's shards.
    """

    language: str
    rows: int
    memory: int
    source: PartGroup | Mapping[str, Any]


class Served(NamedTuple):
    """What is searched under one name.

    Attributes:
        uri: the version of a collection, or the index.
        manifest: its manifest.
        pieces: all its documents.
        efforts: language to the value of an approximate index's knob, where it was measured.
    """

    name: str
    uri: str
    manifest: Mapping[str, Any]
    pieces: Sequence[Piece]
    efforts: Mapping[str, int | None]

    @property
    def rows(self) -> dict[str, int]:
        """Language to number of documents, in the order of an index's languages."""
        return {
            language: sum(piece.rows for piece in self.pieces if piece.language == language)
            for language in in_order({piece.language for piece in self.pieces})
        }

    @property
    def texts(self) -> str:
        """The version of the collection that has the texts [URI].

        Raises:
            UserError: an index names one on another file system.
        """
        return storage.named_by(self.uri, self.manifest.get("embeddings", self.uri))


def open_served(name: str, uri: str, recall: Recall) -> Served:
    """What `uri` holds: an index, or a collection as it is now.

    Raises:
        UserError: it holds neither, or no vectors.
    """
    try:
        served = _index(name, uri, recall) if _is_index(uri) else _collection(name, uri)
    except UserError as error:
        raise UserError(f"--collections {name}: {error}") from None
    if not served.pieces:
        raise UserError(f"--collections {name}: {uri} holds no vectors")
    return served


def load(served: Served, piece: Piece) -> Flat | Approximate:
    """The documents of a piece, in memory.

    Raises:
        UserError: a file is missing or corrupt.
    """
    width = int(served.manifest["width"])
    if not isinstance(piece.source, PartGroup):
        return store.load_shard(served.uri, piece.source, width)
    vectors = np.empty((piece.rows, width), dtype=np.float32)
    ids = read_group(served.uri, piece.source, vectors)
    return Flat(vectors, ids, exact.largest_norm(vectors))


def _is_index(uri: str) -> bool:
    if collection.pinned(uri) != uri or not storage.committed(uri):
        return False
    found = storage.read_json(storage.join(uri, "manifest.json"))
    return isinstance(found, dict) and found.get("kind") == "index"


def _index(name: str, uri: str, recall: Recall) -> Served:
    manifest = store.manifest_of(uri)
    storage.named_by(uri, manifest["embeddings"])  # refused before the first question
    points = manifest["operating_points"]
    if short := shortfall(points, recall):
        log.warning("%s: %s", name, short)
    efforts = {language: of[recall]["value"] for language, of in points.items()}
    pieces = [
        Piece(shard["language"], shard["rows"], shard["bytes"] + shard["rows"] * ID_BYTES, shard)
        for shard in manifest["shards"]
        if shard["rows"]
    ]
    return Served(name, uri, manifest, pieces, efforts)


def _collection(name: str, uri: str) -> Served:
    uri = collection.pinned(uri)
    manifest = embeddings_manifest(uri)
    pieces = [
        Piece(group.language, group.rows, group.memory(manifest["width"]), group)
        for group in cut_groups(manifest["parts"], PIECE_ROWS)
    ]
    return Served(name, uri, manifest, pieces, {})
