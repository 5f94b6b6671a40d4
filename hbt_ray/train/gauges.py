"""What each step took and fed: measured on every rank, summed over them, and shown in Ray's own metrics."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist
from ray.util.metrics import Gauge

TAGS = ("run", "rank")


class Gauges:
    """The clock of a rank's steps. A step is `wait`, then `begin` when its slice is there, then `end`."""

    def __init__(self, run: str, rank: int, ranks: int, device: torch.device) -> None:
        self._ranks = ranks
        self._device = device
        names = {
            "hbt_ray_ingest_stall": "time a step waited for its slice [s]",
            "hbt_ray_pairs_per_second": "pairs this rank trained on [pairs/s]",
            "hbt_ray_tokens_per_second": "tokens this rank trained on, padding left out [tokens/s]",
        }
        self._gauges = [Gauge(name, description, TAGS) for name, description in names.items()]
        for gauge in self._gauges:
            gauge.set_default_tags({"run": run, "rank": str(rank)})
        self._waiting = self._begun = time.monotonic()

    def wait(self) -> None:
        self._waiting = time.monotonic()

    def begin(self) -> None:
        self._begun = time.monotonic()

    def end(self, loss: torch.Tensor, inputs: dict[str, Any]) -> dict[str, float]:
        """Of the step: over all ranks the mean `loss`, the longest `stall_s`, `tokens`, `padding` [share of what was
        computed] and `pairs_per_s`, and what a rank did on average, `rank_pairs_per_s` and `rank_tokens_per_s`.

        All ranks must call it.
        """
        masks = [inputs[role]["attention_mask"] for role in ("query", "passage")]
        tokens = torch.stack([mask.sum() for mask in masks]).sum()
        computed = float(sum(mask.numel() for mask in masks))
        stall = self._begun - self._waiting
        sums = torch.stack([loss.detach().double(), tokens.double(), tokens.new_tensor(computed).double()])
        longest = torch.tensor(stall, dtype=torch.float64, device=self._device)
        dist.all_reduce(sums)
        dist.all_reduce(longest, op=dist.ReduceOp.MAX)
        mean_loss, rank_tokens, rank_computed = (sums / self._ranks).tolist()
        seconds = time.monotonic() - self._waiting
        pairs = len(inputs["groups"])
        for gauge, value in zip(self._gauges, (stall, pairs / seconds, tokens.item() / seconds), strict=True):
            gauge.set(value)
        return {
            "loss": mean_loss,
            "stall_s": longest.item(),
            "tokens": round(rank_tokens * self._ranks),
            "padding": 1 - rank_tokens / rank_computed,
            "pairs_per_s": pairs * self._ranks / seconds,
            "rank_pairs_per_s": pairs / seconds,
            "rank_tokens_per_s": rank_tokens / seconds,
        }
