"""Vectors of several languages, as embeddings on storage, and what any search of them has to say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hbt_ray import storage
from hbt_ray.encode import embeddings

Vectors = dict[str, np.ndarray]


def unit(rng: np.random.Generator, rows: int, width: int = 24) -> np.ndarray:
    matrix = rng.standard_normal((rows, width)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def close(rng: np.random.Generator, rows: int, width: int = 24) -> np.ndarray:
    """Vectors so alike that fp32 sums cannot order them."""
    return (1 + 1e-7 * rng.integers(0, 3, (rows, width))).astype(np.float32)


def coarse(rng: np.random.Generator, rows: int, width: int = 24) -> np.ndarray:
    """Vectors of few values: most scores are ties."""
    return rng.integers(-1, 2, (rows, width)).astype(np.float32)


KINDS = {"unit": unit, "close": close, "coarse": coarse}


def names(language: str, rows: int) -> list[str]:
    """Ids, whose order is not that of the numbers in them."""
    return [f"{language}:{row}" for row in range(rows)]


def write(folder: Path, vectors: Vectors, dtype: str = "float32", part_rows: int = 450, model: str = "m") -> str:
    """A folder as `encode` writes it, of the vectors of each language, whose documents are numbered from 0."""
    parts = []
    for language, matrix in vectors.items():
        ids = names(language, len(matrix))
        for first in range(0, len(matrix), part_rows):
            name = f"{first:06d}-{language}"
            rows = slice(first, first + part_rows)
            sha256 = embeddings.write_part(embeddings.part_uri(str(folder), name), ids[rows], matrix[rows], dtype)
            parts.append({"name": name, "language": language, "rows": len(ids[rows]), "sha256": sha256})
    rows_of = {language: len(matrix) for language, matrix in vectors.items()}
    commit(folder, parts, rows_of, next(iter(vectors.values())).shape[1], dtype, model)
    return str(folder)


def commit(
    folder: Path, parts: list[dict[str, object]], rows: dict[str, int], width: int, dtype: str = "float32",
    model: str = "m",
) -> None:  # fmt: skip
    body = {"model": model, "model_fingerprint": "f", "role": "passage", "width": width, "dtype": dtype,
            "rows": sum(rows.values()), "rows_by_language": rows, "parts": parts}  # fmt: skip
    storage.commit(str(folder), "embeddings", body)


def brute_force(vectors: Vectors, queries: np.ndarray, pool: list[str] | None) -> list[list[tuple[str, float]]]:
    """All documents of the pool, best first, with fp32 scores: sums without rounding error, sorted one by one."""
    ranked = []
    for query in queries.astype(np.float64):
        scored = [
            (float(np.float32(math.fsum((query * vector).tolist()))), f"{language}:{row}")
            for language, matrix in vectors.items()
            if pool is None or language in pool
            for row, vector in enumerate(matrix.astype(np.float64))
        ]
        ranked.append([(key, score) for score, key in sorted(scored, reverse=True)])
    return ranked
