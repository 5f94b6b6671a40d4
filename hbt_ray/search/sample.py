"""Embeddings drawn at random, as many of each language as it has or as the others get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from hbt_ray.encode import embeddings


def draw(source: str, manifest: Mapping[str, Any], rows: int) -> np.ndarray:
    """Draw at most `rows` vectors, fp32 [rows, width], of the folder `source` that `encode` wrote, always the same.

    One Ray task a language reads the parts that hold some of them.

    Raises:
        UserError: a part is missing or corrupt.
    """
    counts = shares(manifest["rows_by_language"], rows)
    task = ray.remote(_draw)
    drawn = [
        task.remote(source, [part for part in manifest["parts"] if part["language"] == language], count)
        for language, count in sorted(counts.items())
        if count
    ]
    return np.concatenate(ray.get(drawn))


def shares(rows: Mapping[str, int], total: int) -> dict[str, int]:
    """How many of `total` rows each language gives: equal shares, and all of a language that has fewer than that."""
    given: dict[str, int] = {}
    for position, language in enumerate(sorted(rows, key=lambda name: (rows[name], name))):
        given[language] = min(rows[language], (total - sum(given.values())) // (len(rows) - position))
    return given


def _draw(source: str, parts: Sequence[Mapping[str, Any]], count: int) -> np.ndarray:
    stops = np.cumsum([part["rows"] for part in parts])
    chosen = np.sort(np.random.default_rng(0).choice(stops[-1], count, replace=False))
    drawn = []
    for part, stop in zip(parts, stops, strict=True):
        inside = chosen[(chosen >= stop - part["rows"]) & (chosen < stop)]
        if len(inside):
            drawn.append(embeddings.read_part(source, part)[1][inside - (stop - part["rows"])])
    return np.concatenate(drawn)
