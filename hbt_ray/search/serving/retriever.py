"""Questions to replicas, and one answer of what these say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hbt_ray.config import UserError
from hbt_ray.encode.spans import Titled
from hbt_ray.languages import canonical, direction
from hbt_ray.model.encoder import Role
from hbt_ray.search.fusion import reciprocal_ranks
from hbt_ray.search.ranking import Hits, pool
from hbt_ray.search.serving.calls import call
from hbt_ray.search.serving.holder import Asked, Ranked
from hbt_ray.search.serving.messages import (
    CollectionAbout,
    Documents,
    EmbedAnswer,
    EmbedRequest,
    Hit,
    RankedList,
    SearchAnswer,
    SearchRequest,
)
from hbt_ray.search.serving.served import Served

FUSED = 100  # of each list, at least, when lists are fused or compared [passages]
RRF_K = 60  # of Cormack et al. 2009


class Collection(NamedTuple):
    """What is asked under one name.

    Attributes:
        holders: handles of deployments, which share its documents.
    """

    served: Served
    model: str
    rows: Mapping[str, int]
    holders: Sequence[Any]


class Retriever:
    """Collections and models, as handles of the deployments that hold them."""

    def __init__(self, collections: Mapping[str, Collection], models: Mapping[str, Any]) -> None:
        self._collections = collections
        self._models = models

    def about(self) -> list[CollectionAbout]:
        """What is served."""
        return [
            CollectionAbout(
                name=name,
                model=one.model,
                exact=one.served.manifest.get("exact", True),
                languages={
                    language: Documents(documents=count, direction=direction(language))
                    for language, count in sorted(one.rows.items())
                },
            )
            for name, one in self._collections.items()
        ]

    async def embed(self, request: EmbedRequest) -> EmbedAnswer:
        """The vectors of texts.

        Raises:
            UserError: there is no such model, or several, of which none is named.
        """
        if request.model is None and len(self._models) > 1:
            raise UserError(f"model: say which; there are {', '.join(self._models)}")
        name = request.model or next(iter(self._models))
        _known("model", [name], self._models)
        vectors = await self._embed(name, list(request.texts), request.role)
        return EmbedAnswer(model=name, vectors=vectors.tolist())

    async def search(self, request: SearchRequest) -> SearchAnswer:
        """The best passages of one collection, or of several fused by reciprocal ranks.

        The same id in two collections is taken for the same passage.

        Raises:
            UserError: there is no such collection, or none of them has such a language.
        """
        names = list(dict.fromkeys(request.collections)) or list(self._collections)
        _known("collections", names, self._collections)
        chosen = self._languages(names, request.languages)
        several = len(names) > 1
        depth = max(request.k, FUSED) if several else request.k
        models = list({self._collections[name].model for name in names})
        encoded = await asyncio.gather(*(self._embed(model, [request.query], "query") for model in models))
        vectors = {model: found[0] for model, found in zip(models, encoded, strict=True)}
        asked = [Asked(vectors[self._collections[name].model], depth, chosen[name]) for name in names]
        lists = dict(zip(names, await asyncio.gather(*map(self._search, names, asked)), strict=True))
        best = _fused(list(lists.values())) if several else lists[names[0]]
        shown = {name: ranked[: request.k] for name, ranked in lists.items()}
        texts = await self._texts(shown, best[: request.k])
        ranks = {name: {key: rank for rank, (key, _) in enumerate(ranked, 1)} for name, ranked in lists.items()}
        of_each = [
            RankedList(collection=name, model=self._collections[name].model, hits=_hits(shown[name], texts, ranks))
            for name in names
        ]
        fused = _hits(best[: request.k], texts, ranks)
        return SearchAnswer(query=request.query, hits=fused, lists=of_each if several else [])

    def _languages(self, names: Sequence[str], languages: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What of the languages, all when none is named, each collection has, as it writes them."""
        together = {language: count for name in names for language, count in self._collections[name].rows.items()}
        try:
            wanted = set(map(canonical, pool(together, languages or None)))
        except UserError as error:
            raise UserError(f"languages: {error}") from None
        return {name: tuple(one for one in self._collections[name].rows if canonical(one) in wanted) for name in names}

    async def _embed(self, model: str, texts: list[str], role: Role) -> np.ndarray:
        vectors: np.ndarray = await call(self._models[model].embed, (texts, role))
        return vectors

    async def _search(self, name: str, asked: Asked) -> Ranked:
        holders = self._collections[name].holders
        parts: list[Ranked] = await asyncio.gather(*(call(holder.search, asked) for holder in holders))
        # by score and then id, both descending, as all lists are
        return sorted((one for part in parts for one in part), key=lambda one: (one[1], one[0]), reverse=True)[
            : asked.k
        ]

    async def _texts(self, shown: Mapping[str, Ranked], best: Ranked) -> dict[str, Titled]:
        """The texts of all passages in any of the lists, of the first collection that has each of them."""
        wanted = {key for ranked in (*shown.values(), best) for key, _ in ranked}
        found: dict[str, Titled] = {}
        for name in shown:
            left = sorted(wanted - found.keys())
            if left:
                found |= await call(self._collections[name].holders[0].texts, left)
        return found


def _known(what: str, names: Iterable[str], there: Iterable[str]) -> None:
    there = list(there)
    if missing := next((name for name in names if name not in there), None):
        raise UserError(f"{what}: there is no {missing}; there are {', '.join(there)}")


def _fused(lists: Sequence[Ranked]) -> Ranked:
    arrays = [
        Hits(
            np.array([[key for key, _ in ranked]], dtype=object).reshape(1, -1),
            np.array([[score for _, score in ranked]], dtype=np.float32).reshape(1, -1),
        )
        for ranked in lists
    ]
    fused = reciprocal_ranks(arrays, RRF_K)
    return list(zip(fused.ids[0].tolist(), fused.scores[0].tolist(), strict=True))


def _hits(ranked: Ranked, texts: Mapping[str, Titled], lists: Mapping[str, Mapping[str, int]]) -> list[Hit]:
    """A list with what is known of each passage.

    Args:
        lists: the rank of each passage in the list of each collection.
    """
    found = []
    for rank, (key, score) in enumerate(ranked, 1):
        language = canonical(key.partition(":")[0])
        ranks = {name: places.get(key) for name, places in lists.items()}
        known = [place for place in ranks.values() if place is not None]
        text = texts.get(key)
        found.append(
            Hit(
                rank=rank,
                id=key,
                language=language,
                direction=direction(language),
                score=score,
                text=text and text.text,
                title=text.title if text else 0,
                ranks=ranks,
                rank_distance=max(known) - min(known) if len(known) > 1 else None,
            )
        )
    return found
