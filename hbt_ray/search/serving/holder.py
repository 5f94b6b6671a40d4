"""A replica of Ray Serve that holds documents of a collection."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ray import serve

from hbt_ray.config import UserError
from hbt_ray.encode import collection, texts
from hbt_ray.encode.spans import Titled
from hbt_ray.search.flat import Flat
from hbt_ray.search.found import combine
from hbt_ray.search.ranking import hits
from hbt_ray.search.serving.calls import BATCH
from hbt_ray.search.serving.served import Piece, Served, load
from hbt_ray.terminal import start_worker_logging


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
