"""One question to an index: the passages that answer it, with their texts where the collection is still there."""

from __future__ import annotations

from typing import Any

import numpy as np

from hbt_ray import storage
from hbt_ray.config import SearchConfig, UserError
from hbt_ray.encode import texts
from hbt_ray.languages import canonical
from hbt_ray.search import store
from hbt_ray.search.queries import QueryEncoder
from hbt_ray.search.searcher import Searcher


def ask(config: SearchConfig) -> dict[str, Any]:
    """Search for one text.

    Returns: `query` and `hits`: rank, id, language, score and text (None when the collection is gone, or on another
        file system) of each.

    Raises:
        UserError: the index is unusable or of another model, or has no such language.
    """
    index = config.index
    manifest = store.manifest_of(index)
    vector = QueryEncoder(manifest, config.encoder)([config.query])
    with Searcher(index, recall=config.recall, gpus_per_actor=config.gpus_per_actor) as searcher:
        ids, scores = (column[0].tolist() for column in searcher.search(vector, config.k, config.languages or None))
    found = [(key, score) for key, score in zip(ids, scores, strict=True) if np.isfinite(score)]
    try:
        known = texts.of(storage.named_by(index, manifest["embeddings"]), [key for key, _ in found])
    except UserError:  # the collection has been deleted since, or is not where the index is
        known = {}
    hits = [
        {"rank": rank, "id": key, "language": canonical(key.partition(":")[0]), "score": score, "text": known.get(key)}
        for rank, (key, score) in enumerate(found, 1)
    ]
    return {"query": config.query, "hits": hits}
