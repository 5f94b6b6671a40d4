"""Several rankings made one by the fusion of their first documents: what is further down counts as not in a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hbt_ray.arrays import blocks
from hbt_ray.evaluation.by_row import ByRow
from hbt_ray.evaluation.listed import by_language, cut, in_pool, places
from hbt_ray.search.ranking import Above, Hits, in_order, merge

QUERIES = 2048  # searched at once, to know the places of relevant documents
Fusion = Callable[[Sequence[Hits]], Hits]


class FusedRanker:
    """Ranks by the fusion of the first documents of several rankings; its queries are rows, as those of `ByRow`.

    What is not in a fused list was never found: nothing more is known of its place.

    Attributes:
        languages: languages of the documents.
    """

    def __init__(self, rankers: Sequence[ByRow], fusion: Fusion, depth: int, pooled: bool) -> None:
        """Note what is fused.

        Args:
            fusion: makes one of the lists of all rankers.
            depth: how much of each list is fused, and length of the fused lists [documents].
            pooled: whether the pool of all languages is fused, from which the lists of languages are taken; or the own
                pool of each language, and then lists of different languages have nothing to do with each other.
        """
        self._rankers, self._fusion, self._depth, self._pooled = rankers, fusion, depth, pooled
        self.languages = in_order({language for ranker in rankers for language in ranker.languages})

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """The first documents of each of these languages, all when None, no more than k and than the depth.

        Args:
            queries: rows, int [queries].
        """
        chosen = self.languages if languages is None else languages
        width = min(k, self._depth)
        if self._pooled:
            lists = [ranker.search_languages(queries, self._depth) for ranker in self._rankers]
            whole = self._fusion([merge(found, self._depth, len(queries)) for found in lists])
            return by_language(cut(whole, width), chosen)
        lists = [ranker.search_languages(queries, self._depth, chosen) for ranker in self._rankers]
        return {name: cut(self._fusion([found[name] for found in lists]), width) for name in chosen}

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """The places of those relevant documents that are in the fused lists.

        Args:
            queries: rows, int [queries].
        """
        parts = [places([], [], self.languages)]
        for block in blocks(len(queries), QUERIES):
            found = self.search_languages(queries[block], self._depth, languages)
            parts.append(places(in_pool(found, self._pooled), relevant[block], self.languages, block.start))
        return Above(*map(np.concatenate, zip(*parts, strict=True)))
