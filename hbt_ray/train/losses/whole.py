"""What a loss is made of: a rank's vectors and what is known of them, and those of all ranks."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import torch

from hbt_ray.train.losses.gather import gather, rank_and_ranks
from hbt_ray.train.losses.right_answers import RightAnswers


class Labels(NamedTuple):
    """What is known of a rank's rows, beside the vectors of their texts.

    Attributes:
        groups: group of each row, int64 [rows]: rows of one group answer the same question.
        query_keys: equal for equal queries, prefixes aside, int64 [rows].
        keys: equal for equal passages, NO_PASSAGE for none, int64 [rows * (1 + hard negatives)].
        weights: weight of each loss for each row, fp64 [losses, rows]; None: that of its settings for all rows.
        scores: a reranker's scores of each row's passage and hard negatives, fp32 [rows, 1 + hard negatives], NaN where
            there is none; None: no loss needs them.
        teacher: a teacher's unit vectors of the queries, then of the passages as `Whole` has them, fp32 [rows * (2 +
            hard negatives), width]; None: there are none.
    """

    groups: torch.Tensor
    query_keys: torch.Tensor
    keys: torch.Tensor
    weights: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    teacher: torch.Tensor | None = None


class Places:
    """Where a rank's rows are among those of all ranks, and which of these answer what.

    Attributes:
        groups: group of each row of all ranks, int64 [all rows].
        own: where among all rows are this rank's, int64 [rows].
        positive: where among all passages are the positives of this rank's rows, int64 [rows].
        all_positives: where among all passages is the positive of each row of all ranks, int64 [all rows].
        row_of_passage: where among all rows is the row of each passage of all ranks, int64 [all passages].
        answers: which passages answer which queries.
    """

    def __init__(self, labels: Labels) -> None:
        """Put the labels of all ranks together, in one gather."""
        rows, slots = len(labels.groups), len(labels.keys)
        rank, ranks = rank_and_ranks()
        ids = gather(torch.cat([labels.groups, labels.query_keys, labels.keys])).view(ranks, -1)
        self.groups, query_keys, keys = (part.reshape(-1) for part in ids.split([rows, rows, slots], dim=1))
        row = torch.arange(rows, device=labels.groups.device)
        number = torch.arange(ranks, device=row.device)[:, None]
        self.own, self.positive = rank * rows + row, rank * slots + row
        self.all_positives = (number * slots + row).view(-1)
        self.row_of_passage = (number * rows + row.repeat(slots // rows)).view(-1)
        self.answers = RightAnswers(self.groups, query_keys, keys, self.all_positives)


class Whole:
    """A rank's part of a global batch, and the vectors of all of it.

    Vectors are gathered with autograd; so the gradient, averaged over ranks as DeepSpeed does, of the mean of a loss
    over each rank's own rows is that of its mean over the global batch, without any factor. All ranks have the same
    number of rows, and ask for the same here.

    Attributes:
        queries: this rank's unit vectors, fp32 or fp64 [rows, width].
        passages: [rows * (1 + hard negatives), width]; the positives first, then the hard negatives of choice 0, 1, …,
            each in row order.
        labels: of this rank's rows.
        places: where these are among all rows.
    """

    def __init__(self, queries: torch.Tensor, passages: torch.Tensor, labels: Labels) -> None:
        """Put a rank's vectors, of any precision, and labels together with those of the others."""
        self.queries, self.passages = _at_least_fp32(queries), _at_least_fp32(passages)
        self.labels = labels
        self.places = Places(labels)

    @property
    def positives(self) -> torch.Tensor:
        """This rank's positives, [rows, width]."""
        return self.passages[: len(self.queries)]

    @cached_property
    def all_queries(self) -> torch.Tensor:
        """The queries of all ranks, [all rows, width]."""
        return gather(self.queries)

    @cached_property
    def all_passages(self) -> torch.Tensor:
        """The passages of all ranks, those of one after those of another, [all passages, width]."""
        return gather(self.passages)


class Loss(Protocol):
    """What a run minimises: the mean over all rows of what it gives for each."""

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        """The loss of each of this rank's rows, floating [rows], at this temperature, floating [].

        What it makes of other ranks' vectors it takes from `whole`, and nothing is multiplied by the number of ranks.
        """
        ...


def _at_least_fp32(vectors: torch.Tensor) -> torch.Tensor:
    return vectors if vectors.dtype == torch.float64 else vectors.float()
