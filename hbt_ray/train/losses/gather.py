"""The rows of all ranks, with a gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def rank_and_ranks() -> tuple[int, int]:
    """This process's rank, and how many there are; 0 and 1 for a process by itself."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather(local: torch.Tensor) -> torch.Tensor:
    """The rows of all ranks in rank order; the gradient of a rank's rows is the sum over all ranks' losses."""
    if rank_and_ranks()[1] == 1:
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
