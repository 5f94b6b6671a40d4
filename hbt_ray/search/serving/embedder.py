"""A replica of Ray Serve that holds a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import torch
from ray import serve

from hbt_ray.config import EncoderConfig
from hbt_ray.encode.vectors import TextBatches
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import ROLES, Role
from hbt_ray.search.serving.calls import BATCH
from hbt_ray.terminal import start_worker_logging

TOKENS = 4096  # encoded at once


class Embedder:
    """A replica that holds a model."""

    def __init__(self, config: EncoderConfig, threads: int, gpu: bool) -> None:
        start_worker_logging()
        torch.set_num_threads(threads)
        encoder = build_encoder(config).eval().to(torch.device("cuda" if gpu else "cpu"))
        self._encoder = encoder
        self._batches = {role: TextBatches(encoder, TOKENS, role) for role in ROLES}

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0)  # type: ignore[untyped-decorator]
    async def embed(self, asked: list[tuple[list[str], Role]]) -> list[np.ndarray]:
        """The unit vectors, fp32 [texts, width], of the texts of each request, in a role."""
        return await asyncio.to_thread(self._embed, asked)

    def _embed(self, asked: Sequence[tuple[list[str], Role]]) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty(0)] * len(asked)
        for role in {role for _, role in asked}:
            places = [place for place, (_, one) in enumerate(asked) if one == role]
            whole = [text for place in places for text in asked[place][0]]
            vectors = self._batches[role].encode(self._encoder.tokenize(whole, role))
            stops = np.cumsum([len(asked[place][0]) for place in places])
            for place, part in zip(places, np.split(vectors, stops[:-1]), strict=True):
                found[place] = part
        return found
