"""Any split of documents into shards finds what one index of all of them finds, also where FAISS's own merges fail."""

from __future__ import annotations

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import KINDS, brute_force, close, coarse, names, unit

from hbt_ray.search import exact
from hbt_ray.search.candidates import Half
from hbt_ray.search.flat import GATHER, MARGIN, Flat
from hbt_ray.search.found import Found, combine


def shard(ids: list[str], vectors: np.ndarray, fp16: bool = False) -> Flat:
    order = sorted(range(len(ids)), key=lambda row: ids[row], reverse=True)
    matrix = np.ascontiguousarray(vectors[order])
    norm = exact.largest_norm(matrix)
    gpu = Half(in_fp16(matrix), norm) if fp16 else None
    return Flat(matrix, pa.array([ids[row] for row in order], pa.large_string()), norm, gpu=gpu)


def in_fp16(vectors: np.ndarray) -> faiss.Index:
    """What a GPU holds, on the CPU."""
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return index


def lists(found: Found) -> list[list[tuple[str, float]]]:
    keys = found.ids.to_numpy(zero_copy_only=False)[found.places]
    return [list(zip(*row, strict=True)) for row in zip(keys.tolist(), found.scores.tolist(), strict=True)]


def split(vectors: np.ndarray, owners: np.ndarray, fp16: bool = False) -> list[Flat]:
    """Shards of documents that are numbered from 0, document i in shard owners[i]."""
    ids = np.array(names("de", len(vectors)))
    return [shard(ids[owners == owner].tolist(), vectors[owners == owner], fp16) for owner in np.unique(owners)]


@given(
    kind=st.sampled_from(sorted(KINDS)),
    rows=st.sampled_from([1, 2, 9, 700]),
    shards=st.integers(1, 6),
    copies=st.floats(0, 1),
    half=st.booleans(),
    fp16=st.booleans(),
    k=st.sampled_from([1, 2, 7, 40, 800]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_shards_find_what_one_index_finds(
    kind: str, rows: int, shards: int, copies: float, half: bool, fp16: bool, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = KINDS[kind](rng, rows, 6), KINDS[kind](rng, 3, 6)
    same = rng.random(rows) < copies
    vectors[same] = vectors[0]
    if half:
        vectors = vectors.astype(np.float16).astype(np.float32)
    expected = [row[:k] for row in brute_force({"de": vectors}, queries, None)]
    parts = [part.best(queries, k) for part in split(vectors, rng.integers(0, shards, rows), fp16)]
    assert lists(combine(parts, k)) == expected
    running = parts[0]
    for part in parts[1:]:
        running = combine([part, running], k)
    assert lists(running) == expected


@pytest.mark.parametrize("k", [1, 10, 600, 1000])
def test_shards_find_what_plain_faiss_finds(k: int) -> None:
    """Whole numbers, whose sums FAISS knows exactly: its whole ranking, with ties in order, is the reference."""
    rng = np.random.default_rng(k)
    vectors, queries = coarse(rng, 1000, 16), coarse(rng, 20, 16)
    plain = faiss.IndexFlatIP(16)
    plain.add(vectors)
    scores, rows = plain.search(queries, 1000)
    expected = [
        [(key, score) for score, key in sorted(zip(one, (f"de:{row}" for row in other), strict=True), reverse=True)][:k]
        for one, other in zip(scores.tolist(), rows.tolist(), strict=True)
    ]
    for owners in (np.zeros(1000, int), np.arange(1000) % 7, np.minimum(np.arange(1000), 3)):
        assert lists(combine([part.best(queries, k) for part in split(vectors, owners)], k)) == expected


def test_short_shards_add_no_document_twice_and_none_unknown() -> None:
    """Where a shard has fewer than k, FAISS says -1, which in an array of ids is the last document."""
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 5), unit(rng, 4)
    assert (faiss.knn(queries, vectors[:2], 5, metric=faiss.METRIC_INNER_PRODUCT)[1] == -1).any()
    for row in lists(combine([part.best(queries, 5) for part in split(vectors, np.array([0, 0, 1, 2, 2]))], 5)):
        assert sorted(key for key, _ in row) == names("de", 5)
        assert [score for _, score in row] == sorted((score for _, score in row), reverse=True)


@pytest.mark.parametrize("fp16", [False, True])
def test_more_documents_in_doubt_than_candidates(fp16: bool) -> None:
    """FAISS's sums put hundreds of documents in a wrong order, and may leave out the best."""
    rng = np.random.default_rng(0)
    vectors, queries = close(rng, 6000), close(rng, 4)
    (found,) = [part.best(queries, 3) for part in split(vectors, np.zeros(6000, int), fp16)]
    assert len(vectors) > (3 + MARGIN) * GATHER  # few enough to ask FAISS first
    assert lists(found) == [row[:3] for row in brute_force({"de": vectors}, queries, None)]


@given(seed=st.integers(0, 2**32 - 1), width=st.sampled_from([1, 24, 384]), scale=st.sampled_from([1e-6, 1e-3, 1, 100]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_scores_in_fp16_are_as_near_as_they_are_said_to_be(seed: int, width: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = (np.float32(scale) * unit(rng, rows, width) for rows in (200, 20))
    half = Half(in_fp16(vectors), exact.largest_norm(vectors))
    scores, positions = half.search(queries.astype(np.float16).astype(np.float32), 100)
    near = np.take_along_axis(queries.astype(np.float64) @ vectors.T.astype(np.float64), positions, axis=1)
    assert (np.abs(scores - near).max(axis=1) <= half.error(queries)).all()
