"""Random unit vectors of several languages as `encode` writes them, for benchmarks of what comes after."""

from __future__ import annotations

from typing import Any

import numpy as np

from hbt_ray import storage
from hbt_ray.encode import embeddings

PART_ROWS = 50_000


def write_vectors(folder: str, rows: int, width: int, languages: int, dtype: str = "float16") -> None:
    """About equal rows of each language, in parts of at most PART_ROWS."""
    rows_of = {f"l{i:02d}": rows // languages + (i < rows % languages) for i in range(languages)}
    chance = np.random.default_rng(0)
    parts: list[dict[str, Any]] = []
    for language, count in rows_of.items():
        for first in range(0, count, PART_ROWS):
            numbers = range(first, min(first + PART_ROWS, count))
            name = f"{len(parts):06d}-{language}"
            ids = [f"{language}:{number}" for number in numbers]
            sha256 = embeddings.write_part(embeddings.part_uri(folder, name), ids, unit(chance, len(ids), width), dtype)
            parts.append({"name": name, "language": language, "rows": len(ids), "sha256": sha256})
    body = {"model": "random", "model_fingerprint": "random", "role": "passage", "width": width, "dtype": dtype}
    storage.commit(folder, "embeddings", {**body, "rows": rows, "rows_by_language": rows_of, "parts": parts})


def unit(chance: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Vectors in directions that are equally likely, fp32 [rows, width]."""
    vectors = chance.standard_normal((rows, width), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
