"""What losses are by their formulas: one process, one row after the other, in fp64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from hbt_ray.config import InfoNCEConfig, KLConfig, MarginMSEConfig, TeacherConfig
from hbt_ray.config.losses import Kinds
from hbt_ray.train.losses.right_answers import NO_PASSAGE


class Global(NamedTuple):
    """Vectors [rows, width] and [1 + negatives, rows, width]; labels int64 [rows] and [1 + negatives, rows]; the
    teacher's vectors of all texts, [2 + negatives, rows, width]."""

    queries: torch.Tensor
    passages: torch.Tensor
    groups: torch.Tensor
    query_keys: torch.Tensor
    keys: torch.Tensor
    sources: Sequence[str] = ()
    scores: torch.Tensor | None = None
    teacher: torch.Tensor | None = None


def right_answers(batch: Global, row: int) -> set[int]:
    return {
        int(batch.keys[0, other])
        for other in range(len(batch.queries))
        if batch.groups[other] == batch.groups[row] or batch.query_keys[other] == batch.query_keys[row]
    }


def infonce(config: InfoNCEConfig, batch: Global, row: int, temperature: torch.Tensor) -> torch.Tensor:
    rows = range(len(batch.queries))
    places = [(choice, other) for choice in range(len(batch.keys)) for other in rows]
    right = [right_answers(batch, other) for other in rows]
    wrong = {place: int(batch.keys[place]) not in right[row] | {NO_PASSAGE} for place in places}
    not_asked = [int(batch.keys[0, row]) not in right[other] for other in rows]
    left = {
        "query-passage": [wrong[place] for place in places],
        "passage-query": not_asked,
        "query-query": [not_asked[other] and wrong[0, other] for other in rows],
        "passage-passage": [wrong[place] and place[1] != row for place in places],
    }
    begins = {"query": batch.queries[row], "passage": batch.passages[0, row]}
    ends = {"query": batch.queries, "passage": batch.passages.flatten(0, 1)}
    positive = begins["query"] @ begins["passage"]
    terms = []
    for direction in config.directions:
        begin, _, end = direction.partition("-")
        cosines = ends[end] @ begins[begin]
        kept = torch.tensor(left[direction])
        if config.margin is not None:
            kept &= cosines <= positive + config.margin
        logits = cosines / temperature
        if direction == "query-passage":
            own = torch.tensor([place[1] == row for place in places])
            harder = {"all": own | ~own, "hard": own, "in-batch": ~own}[config.hardness_of]
            logits = logits + config.hardness * harder * cosines.detach()
        with_positive = [positive[None] / temperature] if direction in ("query-passage", "passage-query") else []
        terms.append(torch.cat([*with_positive, logits[kept]]))
    if config.partition == "joint":
        return torch.cat(terms).logsumexp(0) - positive / temperature
    return torch.stack([of_direction.logsumexp(0) for of_direction in terms]).mean() - positive / temperature


def distilled(config: KLConfig | MarginMSEConfig, batch: Global, row: int, temperature: torch.Tensor) -> torch.Tensor:
    assert batch.scores is not None
    there = [choice for choice in range(len(batch.keys)) if not batch.scores[row, choice].isnan()]
    student = torch.stack([batch.queries[row] @ batch.passages[choice, row] for choice in there or [0]]) / temperature
    teacher = batch.scores[row, there].to(student)
    if len(there) < 2:
        return 0 * student.sum()
    if isinstance(config, KLConfig):
        wanted = (teacher / config.teacher_temperature).softmax(0)
        return (wanted * (wanted.log() - student.log_softmax(0))).sum()
    return torch.stack([(student[0] - student[k] - teacher[0] + teacher[k]) ** 2 for k in range(1, len(there))]).mean()


def taught(config: TeacherConfig, batch: Global, row: int) -> torch.Tensor:
    assert batch.teacher is not None
    there = [0, *(1 + choice for choice in range(len(batch.keys)) if batch.keys[choice, row] != NO_PASSAGE)]
    student = torch.cat([batch.queries[None], batch.passages])[there, row]
    teacher = batch.teacher[there, row].to(student)
    if config.measure == "cosine":
        return torch.stack([1 - one @ other for one, other in zip(student, teacher, strict=True)]).mean()
    return torch.stack([(one - other).square().mean() for one, other in zip(student, teacher, strict=True)]).mean()


def own(batch: Global, row: int, temperature: torch.Tensor) -> torch.Tensor:
    """What `own_losses.Pull` is: a sum over the whole batch."""
    return (1 - batch.queries[row] @ batch.passages[0].mean(0)) / temperature


def loss_of_row(config: Kinds, batch: Global, row: int, temperature: torch.Tensor) -> torch.Tensor:
    if isinstance(config, InfoNCEConfig):
        return infonce(config, batch, row, temperature)
    if isinstance(config, KLConfig | MarginMSEConfig):
        return distilled(config, batch, row, temperature)
    if isinstance(config, TeacherConfig):
        return taught(config, batch, row)
    return own(batch, row, temperature)


def objective(losses: Sequence[Kinds], batch: Global, temperatures: Sequence[torch.Tensor]) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for config, temperature in zip(losses, temperatures, strict=True):
        dims = config.matryoshka_dims or (batch.queries.shape[-1],)
        for first, weight in zip(dims, config.matryoshka_weights or [1.0] * len(dims), strict=True):
            queries = functional.normalize(batch.queries[..., :first], dim=-1)
            part = batch._replace(queries=queries, passages=functional.normalize(batch.passages[..., :first], dim=-1))
            for row in range(len(batch.queries)):
                if not config.sources or batch.sources[row] in config.sources:
                    total = total + config.weight * weight * loss_of_row(config, part, row, temperature)
    return total / len(batch.queries)
