"""What an index, BM25 and a run have in common: they rank documents for queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hbt_ray.search.ranking import Above, Hits


class Ranker(Protocol):
    """What ranks documents for queries: an index, or what stands in its place.

    `queries` is what the ranker needs to know of each query: fp32 [queries, width] vectors, or str [queries] texts or
    ids.
    """

    @property
    def languages(self) -> Sequence[str]:
        """The languages of the documents."""

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """The k best documents in the own pool of each of these languages, all when None.

        Lists that are shorter end with the id "" and minus infinity.

        Args:
            queries: [queries] or [queries, width].
        """

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """The places of relevant documents among those of these languages, all when None.

        Documents that the ranker never found are left out.

        Args:
            queries: [queries] or [queries, width].
        """
