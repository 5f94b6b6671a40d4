"""What each step took and fed: measured on every rank, summed over them, and shown in Ray's own metrics."""

from __future__ import annotations

import resource
import time

import torch
import torch.distributed as dist
from ray.util.metrics import Gauge

from hbt_ray.model.encoder import Encoder
from hbt_ray.model.flops import peak_flops
from hbt_ray.train.batch import Batch

TAGS = ("run", "rank")


class Gauges:
    """The clock of a rank's steps. A step is `wait`, then `begin` when its slice is there, then `end`."""

    def __init__(self, run: str, encoder: Encoder, device: torch.device) -> None:
        self._ranks = dist.get_world_size()
        self._encoder = encoder
        self._device = device
        self._peak = peak_flops(device)
        names = {
            "hbt_ray_ingest_stall": "time a step waited for its slice [s]",
            "hbt_ray_pairs_per_second": "pairs this rank trained on [pairs/s]",
            "hbt_ray_tokens_per_second": "tokens this rank trained on, padding left out [tokens/s]",
        }
        self._gauges = [Gauge(name, description, TAGS) for name, description in names.items()]
        for gauge in self._gauges:
            gauge.set_default_tags({"run": run, "rank": str(dist.get_rank())})
        self._waiting = self._begun = time.monotonic()

    def wait(self) -> None:
        """Note that the rank begins to wait for its slice."""
        self._waiting = time.monotonic()

    def begin(self) -> None:
        """Note that the slice is there and the step begins."""
        self._begun = time.monotonic()

    def end(self, loss: torch.Tensor, batch: Batch) -> dict[str, float]:
        """The gauges of the step, whose loss on this rank is `loss`, fp32 []; all ranks must call it.

        Over all ranks: the mean `loss`, the longest `stall_s` and `step_s` [s], `tokens`, `padding` [share of what was
        computed] and `pairs_per_s`; what a rank did on average, `rank_pairs_per_s`, `rank_tokens_per_s` and
        `rank_tflops` [1e12 FLOP/s that the model needs for its tokens, padding and second passes not counted]; on a GPU
        that is known, `mfu`, its share of the peak; and the most memory a rank has had, `memory_gib` [GiB].
        """
        stall = self._begun - self._waiting
        flops = self._encoder.flops(batch.tokens, batch.squares)
        own = [batch.tokens, batch.computed, flops, stall, time.monotonic() - self._waiting, self._memory()]
        known = torch.tensor(own, dtype=torch.float64, device=self._device)
        of_ranks = known.new_empty(self._ranks, 1 + len(own))
        dist.all_gather(list(of_ranks), torch.cat([loss.detach().double().view(1), known]))
        found = of_ranks.cpu()  # the one wait for the device here, and the one message between ranks
        mean_loss, rank_tokens, rank_computed, rank_flops = found[:, :4].mean(dim=0).tolist()
        longest_stall, longest_step, memory = found[:, 4:].amax(dim=0).tolist()
        seconds = time.monotonic() - self._waiting
        pairs = len(batch.labels.groups)
        for gauge, value in zip(self._gauges, (stall, pairs / seconds, batch.tokens / seconds), strict=True):
            gauge.set(value)
        mfu = {} if self._peak is None else {"mfu": rank_flops / seconds / self._peak}
        return {
            "loss": mean_loss,
            "stall_s": longest_stall,
            "step_s": longest_step,
            "tokens": round(rank_tokens * self._ranks),
            "padding": 1 - rank_tokens / rank_computed,
            "pairs_per_s": pairs * self._ranks / seconds,
            "rank_pairs_per_s": pairs / seconds,
            "rank_tokens_per_s": rank_tokens / seconds,
            "rank_tflops": rank_flops / seconds / 1e12,
            **mfu,
            "memory_gib": memory / 2**30,
        }

    def _memory(self) -> int:
        """The most this rank has had at once: of the GPU's memory, or of the machine's [bytes]."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
