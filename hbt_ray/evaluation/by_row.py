"""A ranker that is asked by the numbers of a task's queries, and leaves out what is the query itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from hbt_ray.evaluation.identical import Identical
from hbt_ray.evaluation.listed import only
from hbt_ray.evaluation.ranker import Ranker
from hbt_ray.search.ranking import Above, Hits


class ByRow:
    """Another ranker, whose queries are their rows in the task, int [queries], so that several can be asked alike.

    Attributes:
        languages: languages of the documents.
    """

    def __init__(
        self,
        ranker: Ranker,
        queries: np.ndarray,
        keys: Sequence[str],
        identical: Collection[str] = (),
        above: float = -np.inf,
    ) -> None:
        """Note what the rows mean.

        Args:
            ranker: the ranker.
            queries: all queries of the task as `ranker` wants them, [queries] or [queries, width].
            keys: their ids, str [queries].
            identical: queries whose ids are ids of documents, which are no results of theirs.
            above: a list has documents of higher scores than this only.
        """
        self._ranker, self._queries, self._above = ranker, queries, above
        self._keys, self._identical = np.array(keys, dtype=object), frozenset(identical)
        self.languages = tuple(ranker.languages)

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """The k best documents in the own pool of each of these languages, all when None; where it has none, no list is
        longer than 0.

        Args:
            queries: rows, int [queries].
        """
        chosen = self.languages if languages is None else languages
        nothing = Hits(np.empty((len(queries), 0), dtype=object), np.empty((len(queries), 0), dtype=np.float32))
        there = [name for name in chosen if name in self.languages]
        if not there:
            return dict.fromkeys(chosen, nothing)
        same = Identical(self._keys[queries].tolist(), self._identical)
        found = self._ranker.search_languages(self._queries[queries], k + same.extra, there)
        own = np.arange(len(queries))
        lists = {name: same.left_out_of_lists(hits, own, k) for name, hits in found.items()}
        some = {name: only(hits, (hits.ids != "") & (hits.scores > self._above)) for name, hits in lists.items()}
        return {name: some.get(name, nothing) for name in chosen}

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """The places of relevant documents among those of these languages, as the ranker gives them.

        Args:
            queries: rows, int [queries].
        """
        same = Identical(self._keys[queries].tolist(), self._identical)
        return same.left_out_of_ranks(self._ranker.ranks(self._queries[queries], same.with_own(relevant), languages))
