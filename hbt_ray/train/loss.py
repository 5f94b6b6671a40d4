"""The exact loss: InfoNCE, query to passage, over the global batch, with the gradients of one process on all of it."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as collectives
from torch.nn import functional

NO_PASSAGE = -1  # key of a place that holds no passage: a row with fewer hard negatives than asked for


def info_nce(
    queries: torch.Tensor,
    passages: torch.Tensor,
    groups: torch.Tensor,
    keys: torch.Tensor,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """InfoNCE of this rank's queries against the passages of all ranks (arXiv 1807.03748; Eq. 1 of 2408.10536 with
    other rows' positives counted as negatives too, and a temperature).

    Passages are gathered with autograd, and a rank's loss is the mean over its own queries; so the gradient averaged
    over ranks, as DeepSpeed averages it, is that of the mean over the global batch, without any factor. All ranks have
    the same number of rows. False negatives leave the denominator: passages of the query's own group (translations of
    its positive) and other copies of its positive.

    Args:
        queries: unit vectors [rows, width].
        passages: unit vectors [rows * (1 + negatives), width]; the positives first, in row order.
        groups: group of each row, int64 [rows].
        keys: equal for equal passages, NO_PASSAGE for none, int64 [rows * (1 + negatives)].
        temperature: divisor of the cosines.

    Returns:
        The mean loss over this rank's rows (fp32, or fp64 for fp64 vectors), and the groups of the global batch,
        int64 [rows * ranks].
    """
    rows, slots = len(queries), len(passages)
    rank = dist.get_rank() if dist.is_initialized() else 0
    all_passages, all_keys, all_groups = _gather(passages), _gather(keys), _gather(groups)
    own = torch.arange(rows, device=queries.device)
    positive = rank * slots + own  # column of each query's positive
    if queries.dtype != torch.float64:
        queries, all_passages = queries.float(), all_passages.float()
    logits = queries @ all_passages.T / temperature
    group_of_column = torch.full_like(all_keys, NO_PASSAGE).view(-1, slots)
    group_of_column[:, :rows] = all_groups.view(-1, rows)  # a hard negative is no translation: it has no group
    false_negative = group_of_column.view(-1)[None, :] == groups[:, None]
    false_negative |= all_keys[None, :] == keys[:rows, None]
    false_negative |= all_keys[None, :] == NO_PASSAGE
    false_negative[own, positive] = False
    logits = logits.masked_fill(false_negative, float("-inf"))
    return functional.cross_entropy(logits, positive), all_groups


def _gather(local: torch.Tensor) -> torch.Tensor:
    """The rows of all ranks in rank order; the gradient of a rank's rows is the sum over all ranks' losses."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    group = dist.group.WORLD
    assert group is not None
    if local.requires_grad:
        return collectives.all_gather_tensor_autograd(local.contiguous(), 0, group)
    return collectives.all_gather_tensor(local.contiguous(), 0, group)
