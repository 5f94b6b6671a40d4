"""Documents that have the id of the query: they are the query itself, and no result of it.

As BEIR's and MTEB's evaluators leave them out of what was retrieved (`ignore_identical_ids`), before the list is cut.
Judgements stay as they are: where the query itself was judged relevant, it is one that was never found.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from hbt_ray.search.ranking import Above, Hits


class Identical:
    """The queries of a task, and which of them may be documents too.

    Attributes:
        extra: how many documents more a list needs, so that it is long enough without one: 0 or 1.
    """

    def __init__(self, keys: Sequence[str], identical: Collection[str]) -> None:
        """Note the ids.

        Args:
            keys: ids of all queries (`lang:id`).
            identical: ids of those whose own documents are left out.
        """
        chosen = frozenset(identical)
        self._own = np.array([key if key in chosen else None for key in keys], dtype=object)
        self.extra = int(bool(chosen))

    def with_own(self, relevant: Sequence[Sequence[str]]) -> list[list[str]]:
        """The documents whose ranks must be known: the relevant ones of each query, and its own if it has any."""
        pairs = zip(relevant, self._own, strict=True)
        return [
            [*(key for key in keys if key != own), own] if own is not None and keys else list(keys)
            for keys, own in pairs
        ]

    def left_out_of_ranks(self, above: Above) -> Above:
        """The ranks, of what `with_own` gave, without the queries' own documents, and as if these were not there."""
        if not self.extra:
            return above
        own = above.documents == self._own[above.queries]
        totals = above.counts.sum(axis=1)
        place = np.full(len(self._own), np.iinfo(np.int64).max)
        column = np.zeros(len(self._own), dtype=np.int64)
        place[above.queries[own]], column[above.queries[own]] = totals[own], above.languages[own]
        counts = above.counts.copy()
        lower = np.flatnonzero(totals > place[above.queries])
        counts[lower, column[above.queries[lower]]] -= 1
        return Above(above.queries[~own], above.documents[~own], above.languages[~own], counts[~own])

    def left_out_of_lists(self, hits: Hits, rows: np.ndarray, depth: int) -> Hits:
        """The lists of the queries in these rows without their own documents, at most `depth` long.

        Args:
            rows: rows of the queries, int [lists].
        """
        if not self.extra or not hits.ids.size:
            return hits
        own = hits.ids == self._own[rows][:, None]
        order = np.argsort(own, axis=1, kind="stable")[:, :depth]
        own = np.take_along_axis(own, order, axis=1)
        ids, scores = (np.take_along_axis(column, order, axis=1) for column in hits)
        return Hits(np.where(own, "", ids), np.where(own, np.float32(-np.inf), scores))
