"""The Ray actor that holds some languages' shards and answers for each: best documents, and how many lie above one."""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray.config import UserError
from hbt_ray.index import exact
from hbt_ray.index.build import read_shard

MARGIN = 32  # candidates taken from FAISS beyond the k asked for
BLOCK_NUMBERS = 4_000_000  # of a temporary matrix, which holds at most 8 bytes for each
DOCUMENTS = 4096  # scored at once while counting
GATHER = 16  # a candidate's own score takes as long as those of this many documents in one matrix product


class Shard(NamedTuple):
    """Attributes:
    flat: FAISS index of the vectors.
    vectors: the same memory, fp32 [rows, width].
    ids: large_string [rows], descending, so that among equal scores a lower position ranks higher.
    norm: the largest L2 norm of a vector.
    """

    flat: faiss.IndexFlatIP
    vectors: np.ndarray
    ids: pa.Array
    norm: float


class ShardActor:
    """Shards are loaded at first use, also after Ray has restarted the actor."""

    def __init__(self, uri: str, shards: dict[str, dict[str, Any]], threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        self.uri = uri
        self.entries = shards
        self.loaded: dict[str, Shard] = {}

    def load(self) -> None:
        """Read and verify all shards.

        Raises:
            UserError: a file is missing or corrupt.
        """
        for language in self.entries:
            self._shard(language)

    def search(self, language: str, queries: np.ndarray, k: int) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """The min(k, rows) best documents of each query, by score and then id, both descending.

        Returns: ids, places in them [queries, k], scores fp32 [queries, k].
        """
        shard = self._shard(language)
        k = min(k, len(shard.ids))
        positions = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        todo, wide = np.arange(len(queries)), k + MARGIN
        while len(todo):
            wide = wide if wide * GATHER < len(shard.ids) else len(shard.ids)
            left = []
            per_query = len(shard.ids) if wide == len(shard.ids) else wide * queries.shape[1]
            for block in exact.blocks(len(todo), max(1, BLOCK_NUMBERS // per_query)):
                rows = todo[block]
                best, values, certain = _candidates(shard, queries[rows], k, wide)
                positions[rows], scores[rows] = best, values
                left.append(rows[~certain])
            todo, wide = np.concatenate(left), 4 * wide
        used = np.zeros(len(shard.ids), dtype=bool)
        used[positions] = True
        return shard.ids.filter(pa.array(used)), (np.cumsum(used) - 1)[positions], scores

    def locate(self, language: str, queries: np.ndarray, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Position of each document and its score, fp32, with the query of the same row.

        Raises:
            UserError: a document is not in the shard.
        """
        shard = self._shard(language)
        found = pc.index_in(pa.array(ids, pa.large_string()), value_set=shard.ids)
        if found.null_count:
            raise UserError(f"{self.uri} has no document {ids[pc.index(found.is_null(), True).as_py()]}")
        positions = found.to_numpy().astype(np.int64)
        scores = np.empty(len(ids), dtype=np.float32)
        for rows in exact.blocks(len(ids), DOCUMENTS):
            scores[rows] = exact.scores(queries[rows], shard.vectors, shard.norm, positions[rows, None])[:, 0]
        return positions, scores

    def above(
        self, language: str, queries: np.ndarray, offsets: np.ndarray, scores: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """How many documents of the shard lie above each given document in its query's ranking, int64 [documents].

        Args:
            offsets: query q's documents are those from offsets[q] to offsets[q + 1], int [queries + 1].
            scores: of the documents with their queries, fp32.
            positions: of the first document of the shard whose id is not higher, for ties.
        """
        shard = self._shard(language)
        counts = np.zeros(len(scores), dtype=np.int64)
        for rows in exact.blocks(len(queries), max(1, BLOCK_NUMBERS // DOCUMENTS)):
            for columns in exact.blocks(len(shard.ids), DOCUMENTS):
                matrix = exact.scores(queries[rows], shard.vectors[columns], shard.norm)
                place = np.arange(columns.start, columns.stop)
                for values, first, last in zip(matrix, offsets[rows], offsets[1:][rows], strict=True):
                    thresholds = scores[first:last, None]
                    counts[first:last] += (values > thresholds).sum(axis=1)
                    ties = values == thresholds
                    if ties.any():
                        counts[first:last] += (ties & (place < positions[first:last, None])).sum(axis=1)
        return counts

    def _shard(self, language: str) -> Shard:
        if language not in self.loaded:
            index, ids = read_shard(self.uri, self.entries[language])
            vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
            self.loaded[language] = Shard(index, vectors, ids, exact.largest_norm(vectors))
        return self.loaded[language]


def _candidates(shard: Shard, queries: np.ndarray, k: int, wide: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k best of FAISS's `wide` best documents, and whether no other document can belong to them.

    FAISS scores in fp32, which is not quite `exact.scores`: a document it left out scores at most its last candidate's
    score plus the rounding error. While the k-th best does not lie above that, the left-out may tie or win.

    Returns: positions [queries, k], scores fp32 [queries, k], certain bool [queries].
    """
    if wide == len(shard.ids):
        columns = exact.blocks(wide, DOCUMENTS)
        scores = np.concatenate([exact.scores(queries, shard.vectors[c], shard.norm) for c in columns], axis=1)
        return *_best(scores, k), np.ones(len(queries), dtype=bool)
    rough, found = shard.flat.search(queries, wide)
    found.sort(axis=1)
    scores = exact.scores(queries, shard.vectors, shard.norm, found)
    best, values = _best(scores, k)
    positions = np.take_along_axis(found, best, axis=1)
    bound = rough[:, -1] + exact.rounding_error(queries, shard.norm, np.float32)
    return positions, values, values[:, -1] > bound


def _best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and scores of the k highest scores of each row, in descending order; of equals the lower column first.

    Sorts one number for each score, which holds the score's bits above its column: several times as fast as argsort.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # -0 becomes 0
    ascending = (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).astype(np.int64)  # in the order of the floats
    keys = np.sort((ascending << 32) | (0xFFFFFFFF - np.arange(scores.shape[1], dtype=np.int64)), axis=1)
    columns = 0xFFFFFFFF - (keys[:, ::-1][:, :k] & 0xFFFFFFFF)
    return columns, np.take_along_axis(scores, columns, axis=1)
