"""Search over shards equals brute force over everything: ids, scores and order, ties included."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from hbt_ray import storage
from hbt_ray.config import IndexConfig, UserError
from hbt_ray.index import embeddings, exact, shard
from hbt_ray.index.build import build
from hbt_ray.index.search import Searcher

# German is large enough for candidates from FAISS, the others are scored whole.
ROWS = {"zh": 40, "de": 900, "zh-Hant": 3, "en": 170, "sw": 1}
POOLS = [None, ["de"], ["sw", "zh-Hant"], ["en", "zh", "sw"], []]


def make(folder: Path, vectors: dict[str, np.ndarray]) -> str:
    """An index of the vectors of each language, whose documents are numbered from 0."""
    source = str(folder / "embeddings")
    parts = []
    for language, matrix in vectors.items():
        for number, rows in enumerate(np.array_split(np.arange(len(matrix)), 2 if len(matrix) > 1 else 1)):
            name = f"{number}-{language}"
            ids = [f"{language}:{row}" for row in rows]
            sha256 = embeddings.write_part(embeddings.part_uri(source, name), ids, matrix[rows], "float32")
            parts.append({"name": name, "language": language, "rows": len(rows), "sha256": sha256})
    rows_of = {language: len(matrix) for language, matrix in vectors.items()}
    width = next(iter(vectors.values())).shape[1]
    body = {"model": "m", "model_fingerprint": "f", "role": "passage", "width": width, "dtype": "float32"}
    storage.commit(
        source, "embeddings", {**body, "rows": sum(rows_of.values()), "rows_by_language": rows_of, "parts": parts}
    )
    build(IndexConfig(embeddings=source, out=str(folder / "index")))
    return str(folder / "index")


def brute_force(
    vectors: dict[str, np.ndarray], queries: np.ndarray, pool: list[str] | None
) -> list[list[tuple[str, np.float32]]]:
    """All documents of the pool, best first; sums without rounding error, sorted one by one."""
    ranked = []
    for query in queries.astype(np.float64):
        scored = [
            (np.float32(math.fsum((query * vector).tolist())), f"{language}:{row}")
            for language, matrix in vectors.items()
            if pool is None or language in pool
            for row, vector in enumerate(matrix.astype(np.float64))
        ]
        ranked.append([(key, score) for score, key in sorted(scored, reverse=True)])
    return ranked


def unit(rng: np.random.Generator, rows: int, width: int = 24) -> np.ndarray:
    matrix = rng.standard_normal((rows, width)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def close(rng: np.random.Generator, rows: int, width: int = 24) -> np.ndarray:
    """Vectors so alike that fp32 sums cannot order them."""
    return (1 + 1e-7 * rng.integers(0, 3, (rows, width))).astype(np.float32)


def coarse(rng: np.random.Generator, rows: int, width: int = 24) -> np.ndarray:
    """Vectors of few values: most scores are ties."""
    return rng.integers(-1, 2, (rows, width)).astype(np.float32)


@pytest.fixture(params=[unit, close, coarse], ids=["unit", "close", "coarse"])
def case(
    request: pytest.FixtureRequest, tmp_path: Path, ray_cluster: None
) -> tuple[dict[str, np.ndarray], np.ndarray, str]:
    rng = np.random.default_rng(7)
    vectors = {language: request.param(rng, rows) for language, rows in ROWS.items()}
    return vectors, request.param(rng, 9), make(tmp_path, vectors)


def test_search_equals_brute_force(case: tuple[dict[str, np.ndarray], np.ndarray, str]) -> None:
    vectors, queries, index = case
    with Searcher(index, actors=2) as searcher:
        for pool in POOLS:
            expected = brute_force(vectors, queries, pool)
            for k in (1, 5, 100, 1000):
                hits = searcher.search(queries, k, pool)
                assert hits.ids.tolist() == [[key for key, _ in row[:k]] for row in expected]
                assert hits.scores.tolist() == [[score for _, score in row[:k]] for row in expected]


def test_ranks_equal_brute_force(case: tuple[dict[str, np.ndarray], np.ndarray, str]) -> None:
    vectors, queries, index = case
    relevant = [[f"de:{q}", f"zh:{2 * q}", f"en:{q}", "sw:0", "zh-Hant:1"][: 5 - q % 3] for q in range(len(queries))]
    relevant[4] = []
    with Searcher(index, actors=2) as searcher:
        above = searcher.ranks(queries, relevant)
        assert above.documents.tolist() == [key for keys in relevant for key in keys]
        for pool in POOLS[:4]:
            columns = [i for i, name in enumerate(searcher.languages) if pool is None or name in pool]
            ranks = 1 + above.counts[:, columns].sum(axis=1)
            expected = [[key for key, _ in row] for row in brute_force(vectors, queries, pool)]
            for query, document, rank in zip(above.queries, above.documents, ranks, strict=True):
                if document in expected[query]:
                    assert expected[query][rank - 1] == document


def test_number_of_actors_and_blocks_do_not_matter(tmp_path: Path, ray_cluster: None) -> None:
    rng = np.random.default_rng(1)
    vectors = {language: close(rng, rows) for language, rows in ROWS.items()}
    index, queries = make(tmp_path, vectors), close(rng, 50)
    with Searcher(index, actors=1) as one:
        whole = one.search(queries, 200)
    with Searcher(index, actors=5) as five:
        rows = [five.search(queries[i : i + 1], 200) for i in range(len(queries))]
    assert whole.ids.tolist() == [row.ids[0].tolist() for row in rows]
    assert whole.scores.tolist() == [row.scores[0].tolist() for row in rows]


def test_no_queries_and_wrong_queries(case: tuple[dict[str, np.ndarray], np.ndarray, str]) -> None:
    _, queries, index = case
    with Searcher(index, actors=1) as searcher:
        assert searcher.search(queries[:0], 5).ids.shape == (0, 5)
        assert len(searcher.ranks(queries[:0], []).counts) == 0
        with pytest.raises(UserError, match="has no language fr; it has de, en, sw, zh, zh-Hant"):
            searcher.search(queries, 5, ["fr"])
        with pytest.raises(UserError, match="24 wide"):
            searcher.search(queries[:, :5], 5)
        with pytest.raises(UserError, match="not finite"):
            searcher.search(np.full_like(queries, np.nan), 5)
        with pytest.raises(UserError, match="has no document de:999"):
            searcher.ranks(queries[:1], [["de:999"]])
        with pytest.raises(UserError, match="has no document fr:1"):
            searcher.ranks(queries[:1], [["fr:1"]])


@pytest.mark.parametrize("name", ["de.faiss", "de.ids.parquet"])
def test_corrupt_shard_is_named(tmp_path: Path, ray_cluster: None, name: str) -> None:
    index = make(tmp_path, {"de": unit(np.random.default_rng(0), 10)})
    path = Path(index) / "shards" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=f"{name} is corrupt"):
        Searcher(index)
    path.unlink()
    with pytest.raises(UserError, match="no file"):
        Searcher(index)


def test_index_of_other_embeddings_is_refused(tmp_path: Path, ray_cluster: None) -> None:
    rng = np.random.default_rng(0)
    make(tmp_path, {"de": unit(rng, 10)})
    with pytest.raises(UserError, match="already holds another run: checksum"):
        make(tmp_path, {"de": unit(rng, 10)})


def test_scores_are_exact_whatever_the_blocks() -> None:
    rng = np.random.default_rng(0)
    queries, documents = unit(rng, 40, 384), unit(rng, 500, 384)
    norm = exact.largest_norm(documents)
    whole = exact.scores(queries, documents, norm)
    expected = [[np.float32(math.fsum((q * d).tolist())) for d in documents.astype(np.float64)]
                for q in queries[:5].astype(np.float64)]  # fmt: skip
    assert whole[:5].tolist() == expected
    order = rng.permutation(500)
    positions = np.tile(order, (40, 1))
    np.testing.assert_array_equal(exact.scores(queries, documents, norm, positions), whole[:, order])
    for block in exact.blocks(500, 7):
        np.testing.assert_array_equal(exact.scores(queries[3:5], documents[block], norm), whole[3:5, block])


def test_rare_ties_at_the_border_widen_the_candidates() -> None:
    """More equal documents than the margin: FAISS may drop any of them, and the highest ids must still come first."""
    rng = np.random.default_rng(0)
    documents = np.concatenate([unit(rng, 400), np.tile(unit(rng, 1), (shard.MARGIN + 50, 1))])
    query = documents[-1:]
    flat = shard.faiss.IndexFlatIP(documents.shape[1])
    flat.add(documents)
    ids = shard.pa.array([f"{row:04d}" for row in range(len(documents), 0, -1)], shard.pa.large_string())
    whole = shard.Shard(flat, documents, ids, 1.0)
    _, _, certain = shard._candidates(whole, query, 5, 5 + shard.MARGIN)
    assert not certain[0]
    positions, _, certain = shard._candidates(whole, query, 5, 4 * (5 + shard.MARGIN))
    assert certain[0]
    assert positions[0].tolist() == [400, 401, 402, 403, 404]
