"""One question to an index: the passages that answer it, with their texts where the corpus is still there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.dataset as ds

from hbt_ray import storage
from hbt_ray.config import SearchConfig, UserError
from hbt_ray.index.encode import identify
from hbt_ray.index.search import Searcher
from hbt_ray.index.vectors import encode_texts
from hbt_ray.train.models import build

TOKENS = 4096  # of a batch, which one query does not fill


def ask(config: SearchConfig) -> dict[str, Any]:
    """Search for one text.

    Returns: `query` and `hits`: rank, id, language, score and text (None when the corpus is gone) of each.

    Raises:
        UserError: the index is unusable or of another model, or has no such language.
    """
    index = storage.absolute(config.index)
    manifest = storage.read_manifest(index, "index")
    encoder = config.encoder.model_copy(update={"model": storage.model_name(config.encoder.model)})
    if identify(encoder).fingerprints[manifest["role"]] != manifest["model_fingerprint"]:
        raise UserError(
            f"--model {encoder.model}: the index is of {manifest['model']} with other weights, prefix, length limit or"
            " precision"
        )
    vector = encode_texts(build(encoder).eval(), [config.query], "query", TOKENS)
    with Searcher(index, recall=config.recall) as searcher:
        ids, scores = (column[0].tolist() for column in searcher.search(vector, config.k, config.languages or None))
    found = [(key, score) for key, score in zip(ids, scores, strict=True) if np.isfinite(score)]
    known = texts(manifest["embeddings"], [key for key, _ in found])
    hits = [
        {"rank": rank, "id": key, "language": key.partition(":")[0], "score": score, "text": known.get(key)}
        for rank, (key, score) in enumerate(found, 1)
    ]
    return {"query": config.query, "hits": hits}


def texts(embeddings: str, ids: Sequence[str]) -> dict[str, str]:
    """Document id to text, of those that are still in the parquet files that `embeddings` was encoded from."""
    found: dict[str, str] = {}
    names = [key.partition(":")[2] for key in ids]
    try:
        corpus = storage.read_manifest(embeddings, "embeddings")["corpus"]["uri"]
        for file in storage.expand(corpus, (".parquet",)):
            fs, path = storage.arrow_filesystem(file)
            with storage.parquet_errors(file):
                rows = ds.dataset(path, filesystem=fs, format="parquet")
                table = rows.to_table(["id", "lang", "text"], filter=ds.field("id").isin(names))
            found |= {f"{row['lang']}:{row['id']}": row["text"] for row in table.to_pylist()}
    except UserError:  # embeddings or corpus have been deleted since
        pass
    return {key: found[key] for key in ids if key in found}
