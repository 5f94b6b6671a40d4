"""The exact loss: InfoNCE, query to passage, over the global batch, with the gradients of one process on all of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

BLOCK_SCORES = 2**21  # 8 MiB of fp32
NO_PASSAGE = -1  # key of a place that holds no passage: a row with fewer hard negatives than asked for


def info_nce(
    queries: torch.Tensor,
    passages: torch.Tensor,
    groups: torch.Tensor,
    keys: torch.Tensor,
    temperature: float,
    block_scores: int = BLOCK_SCORES,
) -> tuple[torch.Tensor, torch.Tensor]:
    """InfoNCE of this rank's queries against the passages of all ranks (arXiv 1807.03748; Eq. 1 of 2408.10536 with
    other rows' positives counted as negatives too, and a temperature).

    Passages are gathered with autograd, and a rank's loss is the mean over its own queries; so the gradient averaged
    over ranks, as DeepSpeed averages it, is that of the mean over the global batch, without any factor. All ranks have
    the same number of rows. False negatives leave the denominator: passages of the query's own group (translations of
    its positive) and other copies of its positive.

    Args:
        queries: unit vectors, floating [rows, width].
        passages: unit vectors, floating [rows * (1 + negatives), width]; the positives first, in row order.
        groups: group of each row, int64 [rows].
        keys: equal for equal passages, NO_PASSAGE for none, int64 [rows * (1 + negatives)].
        temperature: divisor of the cosines.
        block_scores: scores held at once, unless one row alone has more; those of a block are computed again for the
            gradient, so that memory does not grow with the square of the batch.

    Returns:
        The mean loss over this rank's rows (fp32 [], or fp64 [] for fp64 vectors), and the groups of the global batch,
        int64 [rows * ranks].
    """
    rows, slots = len(queries), len(passages)
    rank = dist.get_rank() if dist.is_initialized() else 0
    all_passages = _gather(passages)
    ids = _gather(torch.cat([groups, keys])).view(-1, rows + slots)
    all_groups, all_keys = ids[:, :rows].reshape(-1), ids[:, rows:].reshape(-1)
    group_of_column = torch.full_like(all_keys, NO_PASSAGE).view(-1, slots)
    group_of_column[:, :rows] = all_groups.view(-1, rows)  # a hard negative is no translation: it has no group
    columns = (all_passages, group_of_column.view(-1), all_keys)
    positive = rank * slots + torch.arange(rows, device=queries.device)  # column of each query's positive
    size = max(1, block_scores // len(all_keys))
    if size >= rows:
        total = _block(queries, groups, keys[:rows], positive, *columns, temperature)
    else:
        blocks = zip(*(torch.split(part, size) for part in (queries, groups, keys[:rows], positive)), strict=True)
        parts = [checkpoint(_block, *block, *columns, temperature, use_reentrant=False) for block in blocks]
        total = torch.stack(parts).sum()
    return total / rows, all_groups


def _block(
    queries: torch.Tensor,
    groups: torch.Tensor,
    keys: torch.Tensor,
    positive: torch.Tensor,
    passages: torch.Tensor,
    column_groups: torch.Tensor,
    column_keys: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """The sum of the losses of some rows."""
    if queries.dtype != torch.float64:
        queries, passages = queries.float(), passages.float()
    logits = queries @ passages.T / temperature
    false_negative = column_groups[None, :] == groups[:, None]
    false_negative |= column_keys[None, :] == keys[:, None]
    false_negative |= column_keys[None, :] == NO_PASSAGE
    false_negative.scatter_(1, positive[:, None], False)
    return functional.cross_entropy(logits.masked_fill(false_negative, float("-inf")), positive, reduction="sum")


def _gather(local: torch.Tensor) -> torch.Tensor:
    """The rows of all ranks in rank order; the gradient of a rank's rows is the sum over all ranks' losses."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    gathered: torch.Tensor = _GatherRows.apply(local)  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    """All-gather whose backward is reduce-scatter.

    Each waits for its end: torch's own gathers with autograd let several run at once, which now and then hung on gloo.
    """

    @staticmethod
    def forward(ctx: Any, local: torch.Tensor) -> torch.Tensor:
        gathered = local.new_empty((dist.get_world_size() * len(local), *local.shape[1:]))
        dist.all_gather_into_tensor(gathered, local.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        own = gradient.new_empty((len(gradient) // dist.get_world_size(), *gradient.shape[1:]))
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own
