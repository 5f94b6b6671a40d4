"""Which passages of a global batch answer which of its queries, so that none of them is taken for a negative.

A query's right answers are the positives of all rows that have its group, or ask the same, and every copy of them.
"""

from __future__ import annotations

from functools import cached_property

import torch

NO_PASSAGE = -1  # key of a place that holds no passage: a row with fewer hard negatives than asked for


class RightAnswers:
    """The right answers of a global batch.

    Nothing is added up in an order that chance decides, and no size depends on values, for which a GPU would be waited.
    """

    def __init__(
        self, groups: torch.Tensor, query_keys: torch.Tensor, keys: torch.Tensor, positives: torch.Tensor
    ) -> None:
        """Sort the passages of all ranks.

        Args:
            groups: group of each row of all ranks, int64 [all rows].
            query_keys: equal for equal queries, int64 [all rows].
            keys: equal for equal passages, NO_PASSAGE for none, int64 [all passages].
            positives: where among the passages is the positive of each row, int64 [all rows].
        """
        self._groups = groups
        self._query_keys = query_keys
        self._keys = keys
        self._positive_keys = keys[positives]
        self._by_passage = _Equals(self._positive_keys, keys)

    def of_queries(self, rows: torch.Tensor) -> torch.Tensor:
        """Which passages are right answers of the queries of some `rows`, int64 [rows], or are none at all: bool [rows,
        all passages]."""
        same = (self._groups[:, None] == self._groups[rows]) | (self._query_keys[:, None] == self._query_keys[rows])
        return self._by_passage.any(same).T | (self._keys == NO_PASSAGE)

    def of_passages(self, rows: torch.Tensor) -> torch.Tensor:
        """Which queries the positives of some `rows`, int64 [rows], are right answers of: bool [rows, all rows]."""
        has_it = self._positive_keys[:, None] == self._positive_keys[rows]
        return (self._by_group.any(has_it) | self._by_query.any(has_it)).T

    @cached_property
    def _by_group(self) -> _Equals:
        return _Equals(self._groups, self._groups)

    @cached_property
    def _by_query(self) -> _Equals:
        return _Equals(self._query_keys, self._query_keys)


class _Equals:
    """For each of some numbers, which of others equal it: they are neighbours, once sorted."""

    def __init__(self, values: torch.Tensor, wanted: torch.Tensor) -> None:
        """`values`, int64 [values], among which those that equal each of `wanted`, int64 [wanted], are found."""
        ordered, self._order = values.sort()
        self._first = torch.searchsorted(ordered, wanted)
        self._end = torch.searchsorted(ordered, wanted, right=True)

    def any(self, holds: torch.Tensor) -> torch.Tensor:
        """Whether something `holds`, bool [values, rows], of any value that equals the wanted one: bool [wanted,
        rows]."""
        before = holds.new_zeros((len(holds) + 1, holds.shape[1]), dtype=torch.int32)
        torch.cumsum(holds[self._order], dim=0, dtype=torch.int32, out=before[1:])
        return before[self._end] != before[self._first]
