"""What Ray Serve runs: replicas that hold a model, or documents of a collection. They take requests in batches: those
that come while one batch is computed are the next."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from ray import serve

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.encode import collection, texts
from hbt_ray.encode.spans import Titled
from hbt_ray.encode.vectors import TextBatches
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import ROLES, Role
from hbt_ray.search.flat import Flat
from hbt_ray.search.found import combine
from hbt_ray.search.ranking import hits
from hbt_ray.search.serving.served import Piece, Served, load
from hbt_ray.terminal import start_worker_logging

BATCH = 32  # requests that are computed at once
TOKENS = 4096  # encoded at once


class Asked(NamedTuple):
    """A search in the documents of one replica.

    Attributes:
        vector: fp32 [width].
        k: length of the list.
        languages: as the collection has them.
    """

    vector: np.ndarray
    k: int
    languages: tuple[str, ...]


Ranked = list[tuple[str, float]]  # ids and scores, best first


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


class Holder:
    """A replica that holds documents of a collection."""

    def __init__(self, served: Served, pieces: Sequence[Piece]) -> None:
        start_worker_logging()
        self._efforts = served.efforts
        self._pieces = [(piece.language, load(served, piece)) for piece in pieces]
        self._texts = served.texts
        try:
            self._manifest = collection.manifest_of(served.texts)
        except UserError:  # the collection has been deleted since it was indexed
            self._manifest = {}

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0)  # type: ignore[untyped-decorator]
    async def search(self, asked: list[Asked]) -> list[Ranked]:
        """The best documents of each search."""
        return await asyncio.to_thread(self._search, asked)

    async def texts(self, ids: list[str]) -> dict[str, Titled]:
        """The texts of the whole collection's documents, by id, where it holds texts."""
        if not self._manifest.get("documents"):
            return {}
        return await asyncio.to_thread(texts.held, self._texts, self._manifest, ids)

    def _search(self, asked: Sequence[Asked]) -> list[Ranked]:
        alike: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
        for place, one in enumerate(asked):
            alike[one.k, one.languages].append(place)
        answers: list[Ranked] = [[] for _ in asked]
        for (k, languages), places in alike.items():
            queries = np.stack([asked[place].vector for place in places])
            lists = [
                piece.best(queries, k) if isinstance(piece, Flat) else piece.best(queries, k, self._efforts.get(own))
                for own, piece in self._pieces
                if own in languages
            ]
            if not lists:
                continue
            best = hits(combine(lists, k))
            for place, ids, scores in zip(places, best.ids.tolist(), best.scores.tolist(), strict=True):
                found = zip(ids, scores, strict=True)
                answers[place] = [(key, score) for key, score in found if key][:k]
        return answers
