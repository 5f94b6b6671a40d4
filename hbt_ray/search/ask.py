"""Questions to an index: the passages that answer them, with their texts where the collection is still there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hbt_ray import storage
from hbt_ray.config import SearchConfig, UserError
from hbt_ray.encode import texts
from hbt_ray.languages import canonical
from hbt_ray.search import store
from hbt_ray.search.queries import QueryEncoder
from hbt_ray.search.searcher import Searcher

Answer = Callable[[str], dict[str, Any]]


@contextlib.contextmanager
def asking(config: SearchConfig) -> Iterator[Answer]:
    """What answers queries while the block runs: the index, loaded once.

    Its answer to a query has `query` and `hits`: rank, id, language, score and text (None when the collection is gone,
    or on another file system) of each.

    Raises:
        UserError: the index is unusable or of another model, or has no such language.
    """
    assert config.index is not None
    manifest = store.manifest_of(config.index)
    encode = QueryEncoder(manifest, config.encoder)
    with Searcher(config.index, recall=config.recall, gpus_per_actor=config.gpus_per_actor) as searcher:
        yield lambda query: _answer(searcher, encode([query]), query, config)


def _answer(searcher: Searcher, vector: np.ndarray, query: str, config: SearchConfig) -> dict[str, Any]:
    ids, scores = (column[0].tolist() for column in searcher.search(vector, config.k, config.languages or None))
    assert config.index is not None
    found = [(key, score) for key, score in zip(ids, scores, strict=True) if np.isfinite(score)]
    try:
        source = storage.named_by(config.index, searcher.manifest["embeddings"])
        known = texts.of(source, [key for key, _ in found])
    except UserError:  # the collection has been deleted since, or is not where the index is
        known = {}
    hits = [
        {"rank": rank, "id": key, "language": canonical(key.partition(":")[0]), "score": score, "text": known.get(key)}
        for rank, (key, score) in enumerate(found, 1)
    ]
    return {"query": query, "hits": hits}
