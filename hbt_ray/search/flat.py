"""One exact shard in memory: its best documents for each query, and how many of them lie above given ones."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray.arrays import blocks
from hbt_ray.search import exact
from hbt_ray.search.candidates import Candidates, Cpu
from hbt_ray.search.found import Found, compact, highest

MARGIN = 32  # candidates taken from FAISS beyond the k asked for
BLOCK_NUMBERS = 4_000_000  # of a temporary matrix, which holds at most 8 bytes for each
DOCUMENTS = 4096  # scored at once while counting
GATHER = 16  # a candidate's own score takes as long as those of this many documents in one matrix product


class Flat(NamedTuple):
    """One shard in memory, which is searched exactly.

    Attributes:
        vectors: fp32 [rows, width].
        ids: large_string [rows], descending, so that among equal scores a lower position ranks higher.
        norm: the largest L2 norm of a vector.
        owner: the index whose memory `vectors` is, if one is.
        gpu: finds candidates faster, if there is one.
    """

    vectors: np.ndarray
    ids: pa.Array
    norm: float
    owner: faiss.IndexFlat | None = None
    gpu: Candidates | None = None

    def best(self, queries: np.ndarray, k: int) -> Found:
        """The min(k, rows) best documents of each of the queries, fp32 [queries, width].

        FAISS scores in fp32 or fp16, which is not quite `exact.scores`: a document it left out scores at most its last
        candidate's score plus the error. While the k-th best does not lie above that, the left-out may tie or win, and
        the query takes more candidates, at last all documents.
        """
        rows = len(self.ids)
        k = min(k, rows)
        positions = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        todo = np.arange(len(queries))
        for candidates in (self.gpu, Cpu(self.vectors, self.norm)):
            wide = k + MARGIN
            while candidates is not None and len(todo) and wide * GATHER < rows and wide <= candidates.most:
                rough, found = candidates.search(queries[todo], wide)
                for block in blocks(len(todo), max(1, BLOCK_NUMBERS // (wide * queries.shape[1]))):
                    chosen = todo[block]
                    near = exact.scores(queries[chosen], self.vectors, self.norm, found[block])
                    positions[chosen], scores[chosen] = highest(near, found[block], k)
                bound = rough[:, -1] + candidates.error(queries[todo])
                todo, wide = todo[scores[todo, k - 1] <= bound], 4 * wide
        for block in blocks(len(todo), max(1, BLOCK_NUMBERS // max(1, rows))):
            chosen = todo[block]
            columns = blocks(rows, DOCUMENTS)
            whole = [exact.scores(queries[chosen], self.vectors[c], self.norm) for c in columns]
            positions[chosen], scores[chosen] = highest(np.concatenate(whole, axis=1), np.arange(rows), k)
        return compact(self.ids, positions, scores)

    def locate(self, queries: np.ndarray, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The position of each document, int64 [documents], and its score, fp32 [documents], with the query of its row.

        The position is the first whose id is not higher, also for a document that is not in the shard; then the score
        is NaN.

        Args:
            queries: fp32 [documents, width].
            ids: the documents.
        """
        found = pc.index_in(pa.array(ids, pa.large_string()), value_set=self.ids)
        here = found.is_valid().to_numpy(zero_copy_only=False)
        positions = np.empty(len(ids), dtype=np.int64)
        positions[here] = found.drop_null().to_numpy()
        for row in np.flatnonzero(~here):
            positions[row] = bisect_left(range(len(self.ids)), True, key=lambda at: self.ids[at].as_py() <= ids[row])
        scores = np.full(len(ids), np.nan, dtype=np.float32)
        members = np.flatnonzero(here)
        for block in blocks(len(members), DOCUMENTS):
            rows = members[block]
            scores[rows] = exact.scores(queries[rows], self.vectors, self.norm, positions[rows, None])[:, 0]
        return positions, scores

    def above(self, queries: np.ndarray, offsets: np.ndarray, scores: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """How many documents of the shard lie above each given document in its query's ranking, int64 [documents].

        Args:
            queries: fp32 [queries, width].
            offsets: query q's documents are those from offsets[q] to offsets[q + 1], int [queries + 1].
            scores: scores of the documents with their queries, fp32 [documents].
            positions: position of the first document of the shard whose id is not higher, for ties, int [documents].
        """
        counts = np.zeros(len(scores), dtype=np.int64)
        for rows in blocks(len(queries), max(1, BLOCK_NUMBERS // DOCUMENTS)):
            for columns in blocks(len(self.ids), DOCUMENTS):
                matrix = exact.scores(queries[rows], self.vectors[columns], self.norm)
                place = np.arange(columns.start, columns.stop)
                for values, first, last in zip(matrix, offsets[rows], offsets[1:][rows], strict=True):
                    thresholds = scores[first:last, None]
                    counts[first:last] += (values > thresholds).sum(axis=1)
                    ties = values == thresholds
                    if ties.any():
                        counts[first:last] += (ties & (place < positions[first:last, None])).sum(axis=1)
        return counts
