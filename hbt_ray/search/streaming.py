"""Exact search straight from the embedding parts: passes over them in bounded memory, no index built.

For corpora larger than memory. Ids, scores, order and ranks are those of a `Searcher` over the same embeddings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import ray

from hbt_ray import storage
from hbt_ray.search import exact
from hbt_ray.search.flat import Flat
from hbt_ray.search.found import Found, combine
from hbt_ray.search.groups import PartGroup, cut_groups, embeddings_manifest, read_group
from hbt_ray.search.ranking import Above, Hits, Wanted, asked_for, checked_queries, hits, in_order, pool

BLOCK_BYTES = 128 * 2**20


class StreamingSearcher:
    """The embeddings of a folder as they lie there. In each pass one Ray task a CPU reads its share, block by block.

    Attributes:
        languages, rows: the same as in a `Searcher`.
    """

    def __init__(self, source: str, block_bytes: int = BLOCK_BYTES) -> None:
        """Read the manifest.

        Args:
            source: folder written by `encode` [URI].
            block_bytes: size of the vectors that a task holds, as fp32 [bytes].

        Raises:
            UserError: the embeddings are unfinished or empty.
        """
        self._source = storage.absolute(source)
        self._manifest = embeddings_manifest(self._source)
        self._block_rows = max(1, block_bytes // (4 * self._manifest["width"]))
        counts = self._manifest["rows_by_language"]
        self.languages = in_order(language for language in counts if counts[language])
        self.rows = {language: int(counts[language]) for language in self.languages}

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """The best documents of each query in each language's own pool, in one pass: lists for `merge`.

        Args:
            queries: fp32 [queries, width].
            k: length of the lists; shorter where the language has fewer documents.
            languages: languages that are searched in; all when None.

        Raises:
            UserError: a part is missing or corrupt, k is 0, a language has no document, or the queries' width or a
                number in them is wrong.
        """
        chosen = pool(self.rows, languages)
        reference = ray.put(checked_queries(queries, self._manifest["width"], k))
        answers = self._pass(_search, chosen, reference, k)
        return {
            language: hits(combine([answer[language] for answer in answers if language in answer], k))
            for language in chosen
        }

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """The same as `Searcher.ranks`, in two passes: the documents' scores, and how many documents lie above them.

        Args:
            queries: fp32 [queries, width].

        Raises:
            UserError: a part is missing or corrupt, or a relevant document is not there.
        """
        reference = ray.put(checked_queries(queries, self._manifest["width"]))
        wanted = asked_for(relevant, self.languages)
        chosen = pool(self.rows, languages)
        shared = ray.put(wanted)
        scores = np.full(len(wanted.documents), np.nan, dtype=np.float32)
        for rows, found in self._pass(_scores, chosen, reference, shared, self.languages):
            scores[rows] = found
        wanted.refuse_absent(scores)
        counts = self._pass(_above, chosen, reference, shared, ray.put(scores), self.languages)
        empty = np.zeros((len(scores), len(self.languages)), dtype=np.int64)
        return Above(wanted.queries, wanted.documents, wanted.languages, sum(counts, empty))

    def _pass(self, task: Callable[..., Any], languages: Sequence[str], *arguments: Any) -> list[Any]:
        """What `task(source, groups, *arguments)` returns of each share of the parts in these languages."""
        wanted = [part for part in self._manifest["parts"] if part["language"] in languages]
        groups = cut_groups(wanted, self._block_rows)
        remote = ray.remote(task).options(scheduling_strategy="SPREAD")
        shares = _share(groups, int(ray.cluster_resources().get("CPU", 1)))
        answers: list[Any] = ray.get([remote.remote(self._source, share, *arguments) for share in shares])
        return answers


def _search(source: str, groups: Sequence[PartGroup], queries: np.ndarray, k: int) -> dict[str, Found]:
    """The best documents in the groups of each language."""
    best: dict[str, Found] = {}
    for group, flat in _blocks(source, groups, queries.shape[1]):
        found = flat.best(queries, k)
        earlier = best.get(group.language)
        best[group.language] = found if earlier is None else combine([earlier, found], k)
    return best


def _scores(
    source: str, groups: Sequence[PartGroup], queries: np.ndarray, wanted: Wanted, languages: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores, fp32, of those wanted documents that the groups have."""
    rows, scores = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.float32)]
    for group, flat in _blocks(source, groups, queries.shape[1]):
        members = np.flatnonzero(wanted.languages == languages.index(group.language))
        found = flat.locate(queries[wanted.queries[members]], wanted.documents[members].tolist())[1]
        here = ~np.isnan(found)
        rows.append(members[here])
        scores.append(found[here])
    return np.concatenate(rows), np.concatenate(scores)


def _above(
    source: str, groups: Sequence[PartGroup], queries: np.ndarray, wanted: Wanted, scores: np.ndarray,
    languages: Sequence[str],
) -> np.ndarray:  # fmt: skip
    """How many documents of the groups, by language, lie above each wanted one, int64 [documents, languages]."""
    counts = np.zeros((len(scores), len(languages)), dtype=np.int64)
    for group, flat in _blocks(source, groups, queries.shape[1]):
        column = languages.index(group.language)
        # in a tie, all ids of an earlier language are higher and none of a later one is
        positions = np.where(wanted.languages > column, group.rows, 0)
        members = np.flatnonzero(wanted.languages == column)
        documents = wanted.documents[members].tolist()
        positions[members] = flat.locate(queries[wanted.queries[members]], documents)[0]
        counts[:, column] += flat.above(queries, wanted.offsets, scores, positions)
    return counts


def _blocks(source: str, groups: Sequence[PartGroup], width: int) -> Iterator[tuple[PartGroup, Flat]]:
    """Each group, with its documents in memory that the next one's will take."""
    block = np.empty((max(group.rows for group in groups), width), dtype=np.float32)
    for group in groups:
        vectors = block[: group.rows]
        ids = read_group(source, group, vectors)
        yield group, Flat(vectors, ids, exact.largest_norm(vectors))


def _share(groups: Sequence[PartGroup], count: int) -> list[list[PartGroup]]:
    """Consecutive groups in at most `count` shares of about equal rows, none of them empty."""
    total, before = max(1, sum(group.rows for group in groups)), 0
    shares: dict[int, list[PartGroup]] = defaultdict(list)
    for group in groups:
        shares[before * count // total].append(group)
        before += group.rows
    return list(shares.values())
