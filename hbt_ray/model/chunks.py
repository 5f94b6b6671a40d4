"""Chunks: texts of like length that are encoded at once, so that little of what is computed is padding."""

from __future__ import annotations

import heapq

import numpy as np


def cut_chunks(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Cut texts of these `lengths`, int64 [texts], into chunks: the texts of each, int64 [texts in it], longest first.

    A chunk of more than one text has at most `budget` [tokens], its texts padded to the longest of them. Texts that fit
    into one chunk stay in their order.
    """
    if not len(lengths) or len(lengths) * int(lengths.max()) <= budget:
        return [np.arange(len(lengths))]
    order = np.argsort(-lengths, kind="stable")
    chunks = []
    start = 0
    while start < len(order):
        size = max(1, budget // max(int(lengths[order[start]]), 1))
        chunks.append(order[start : start + size])
        start += size
    return chunks


def into_chunks(chunks: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The same texts in the same order in `count` chunks, at least as many as there are: the largest are halved.

    Chunks given and returned are numbers of texts, int64 [texts in the chunk].

    Raises:
        ValueError: there are fewer texts than that.
    """
    if count > sum(len(chunk) for chunk in chunks) and count > len(chunks):
        raise ValueError(f"{sum(len(chunk) for chunk in chunks)} texts cannot be cut into {count} chunks")
    parts = [(-len(chunk), number, 0, chunk) for number, chunk in enumerate(chunks)]
    heapq.heapify(parts)
    for _ in range(count - len(chunks)):
        size, number, before, chunk = heapq.heappop(parts)
        half = -size // 2
        heapq.heappush(parts, (-half, number, before, chunk[:half]))
        heapq.heappush(parts, (size + half, number, before + half, chunk[half:]))
    return [chunk for _, _, _, chunk in sorted(parts, key=lambda part: part[1:3])]
