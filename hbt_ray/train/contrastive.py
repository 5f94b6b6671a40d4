"""What DeepSpeed wraps: the encoder and its loss as one module, so that a step is one forward of the engine."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hbt_ray.train.encoder import Encoder
from hbt_ray.train.loss import info_nce


class Contrastive(nn.Module):
    """A batch to its loss; one encoder for queries and passages."""

    def __init__(self, encoder: Encoder, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """The rank's mean loss and the groups of the global batch, as `info_nce` gives them, of a `Collator` batch."""
        queries = self.encoder(**batch["query"])
        passages = self.encoder(**batch["passage"])
        return info_nce(queries, passages, batch["groups"], batch["keys"], self.temperature)
