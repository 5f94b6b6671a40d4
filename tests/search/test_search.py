"""Search over shards and over the parts themselves equals brute force: ids, scores and order, ties included."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from clusters import run
from vectors import KINDS, Vectors, brute_force, close, commit, unit, write

from hbt_ray.arrays import blocks
from hbt_ray.config import IndexConfig, UserError
from hbt_ray.search import exact, streaming
from hbt_ray.search.build import build_index
from hbt_ray.search.ranking import Hits, merge
from hbt_ray.search.searcher import Searcher

# The first shard of German is large enough for candidates from FAISS, the others are scored whole.
ROWS = {"zh": 40, "de": 900, "zh-Hant": 3, "en": 170, "sw": 1}
SHARD_ROWS = 650
POOLS = [None, ["de"], ["sw", "zh-Hant"], ["en", "zh", "sw"], []]
BLOCK_BYTES = 130 * 24 * 4  # of 130 documents, so that languages are read in several blocks and tasks


class Case(NamedTuple):
    """Documents, queries, the embeddings and an index of them [URIs], and a searcher over it with two actors."""

    vectors: Vectors
    queries: np.ndarray
    source: str
    folder: str
    searcher: Searcher


def make(folder: Path, vectors: Vectors, dtype: str = "float32") -> tuple[str, str]:
    """Embeddings and an index of them."""
    source, index = write(folder / "embeddings", vectors, dtype), str(folder / "index")
    build_index(IndexConfig(embeddings=source, out=index, shard_rows=SHARD_ROWS))
    return source, index


@pytest.fixture(
    scope="module",
    params=[("unit", "float32"), ("unit", "float16"), ("close", "float32"), ("coarse", "float16")],
    ids=str,
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Iterator[Case]:
    kind, dtype = request.param
    rng = np.random.default_rng(7)
    vectors = {language: KINDS[kind](rng, rows).astype(dtype).astype(np.float32) for language, rows in ROWS.items()}
    queries = KINDS[kind](rng, 9)
    source, index = make(tmp_path_factory.mktemp("case"), vectors, dtype)
    with Searcher(index, actors=2) as searcher:
        yield Case(vectors, queries, source, index, searcher)


def same(found: Hits, expected: list[list[tuple[str, float]]], k: int) -> None:
    assert found.ids.tolist() == [[key for key, _ in row[:k]] for row in expected]
    assert found.scores.tolist() == [[score for _, score in row[:k]] for row in expected]


def test_search_and_streaming_equal_brute_force(case: Case) -> None:
    vectors, queries, source, _, searcher = case
    expected = [brute_force(vectors, queries, pool) for pool in POOLS]
    for k in (1, 5, 100, 1000):
        lists = streaming.StreamingSearcher(source, BLOCK_BYTES).search_languages(queries, k)
        for pool, ranked in zip(POOLS, expected, strict=True):
            same(searcher.search(queries, k, pool), ranked, k)
            chosen = {language: lists[language] for language in (lists if pool is None else pool)}
            same(merge(chosen, k, len(queries)), ranked, k)


def test_ranks_equal_brute_force(case: Case) -> None:
    vectors, queries, source, _, searcher = case
    relevant = [[f"de:{q}", f"zh:{2 * q}", f"en:{q}", "sw:0", "zh-Hant:1"][: 5 - q % 3] for q in range(len(queries))]
    relevant[3].append("de:899")
    relevant[4] = []
    german = [[key for key in keys if key.startswith("de:")] for keys in relevant]
    stream = streaming.StreamingSearcher(source, BLOCK_BYTES)
    above, alone = searcher.ranks(queries, relevant), searcher.ranks(queries, german, ["de"])
    for resident, streamed in zip(above, stream.ranks(queries, relevant), strict=True):
        assert resident.tolist() == streamed.tolist()
    of_german = np.array([key.startswith("de:") for key in above.documents])
    by_german = np.array([name == "de" for name in searcher.languages])
    for found in (alone, stream.ranks(queries, german, ["de"])):
        assert found.counts.tolist() == (above.counts[of_german] * by_german).tolist()
    assert stream.languages == searcher.languages
    assert above.documents.tolist() == [key for keys in relevant for key in keys]
    for pool in POOLS[:4]:
        columns = [i for i, name in enumerate(searcher.languages) if pool is None or name in pool]
        ranks = 1 + above.counts[:, columns].sum(axis=1)
        expected = [[key for key, _ in row] for row in brute_force(vectors, queries, pool)]
        for query, document, rank in zip(above.queries, above.documents, ranks, strict=True):
            if document in expected[query]:
                assert expected[query][rank - 1] == document


def test_numbers_of_actors_shards_and_queries_do_not_matter(tmp_path: Path, ray_cluster: None) -> None:
    rng = np.random.default_rng(1)
    vectors = {language: close(rng, rows) for language, rows in ROWS.items()}
    (source, several), queries = make(tmp_path, vectors), close(rng, 12)
    build_index(IndexConfig(embeddings=source, out=str(tmp_path / "single")))
    with Searcher(str(tmp_path / "single"), actors=1) as one:
        whole = one.search(queries, 200)
    with Searcher(several, actors=3) as three:
        rows = [three.search(queries[i : i + 1], 200) for i in range(len(queries))]
    assert whole.ids.tolist() == [row.ids[0].tolist() for row in rows]
    assert whole.scores.tolist() == [row.scores[0].tolist() for row in rows]


@pytest.mark.long
def test_nodes_smaller_than_the_cluster(case: Case) -> None:
    """An actor needs no more CPUs than one node has, however many the cluster has; and of several searchers that do not
    fit at once none waits for what another holds."""
    found = run(Path(__file__).with_name("small_nodes.py"), case.folder, timeout=200)
    assert found.returncode == 0, found.stderr


def test_no_queries_and_wrong_queries(case: Case) -> None:
    _, queries, source, index, searcher = case
    assert searcher.search(queries[:0], 5).ids.shape == (0, 5)
    for search in (searcher.search, streaming.StreamingSearcher(source).search_languages):
        with pytest.raises(UserError, match="has no language fr; it has de, en, sw, zh, zh-Hant"):
            search(queries, 5, ["fr"])
        with pytest.raises(UserError, match="24 wide"):
            search(queries[:, :5], 5)
        with pytest.raises(UserError, match="not finite"):
            search(np.full_like(queries, np.nan), 5)
        with pytest.raises(UserError, match="k is 0 and must be at least 1"):
            search(queries, 0)
    for ranks in (searcher.ranks, streaming.StreamingSearcher(source).ranks):
        assert len(ranks(queries[:0], []).counts) == 0
        with pytest.raises(UserError, match="has no document de:999"):
            ranks(queries[:1], [["de:999"]])
        with pytest.raises(UserError, match="has no document fr:1"):
            ranks(queries[:1], [["fr:1"]])
    with pytest.raises(UserError, match="--gpus-per-actor 1: the cluster has 0 GPUs"):
        Searcher(index, gpus_per_actor=1)


@pytest.mark.parametrize("name", ["000000-de.faiss", "000000-de.ids.parquet"])
def test_corrupt_shard_is_named(tmp_path: Path, ray_cluster: None, name: str) -> None:
    _, index = make(tmp_path, {"de": unit(np.random.default_rng(0), 10)})
    path = Path(index) / "shards" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=f"{name} is corrupt"):
        Searcher(index)
    path.unlink()
    with pytest.raises(UserError, match="no file"):
        Searcher(index)


def test_corrupt_part_is_named(tmp_path: Path, ray_cluster: None) -> None:
    rng = np.random.default_rng(0)
    source = write(tmp_path / "embeddings", {"de": unit(rng, 10)})
    part = tmp_path / "embeddings/parts/000000-de.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(UserError, match="000000-de.parquet is"):
        streaming.StreamingSearcher(source).search_languages(unit(rng, 2), 3)
    with pytest.raises(UserError, match="000000-de.parquet is"):
        build_index(IndexConfig(embeddings=source, out=str(tmp_path / "index")))


def test_index_of_other_embeddings_or_settings_is_refused(tmp_path: Path, ray_cluster: None) -> None:
    rng = np.random.default_rng(0)
    source, index = make(tmp_path, {"de": unit(rng, 10)})
    with pytest.raises(UserError, match="already holds another run: shard_rows is 650 there and 5 here"):
        build_index(IndexConfig(embeddings=source, out=index, shard_rows=5))
    with pytest.raises(UserError, match="already holds another run: checksum"):
        make(tmp_path, {"de": unit(rng, 10)})


def test_what_does_not_fit_is_refused_with_a_figure(tmp_path: Path, ray_cluster: None) -> None:
    part = {"name": "p", "language": "de", "rows": 10**6, "sha256": "0"}
    source = tmp_path / "embeddings"
    commit(source, [part] * 10**3, {"de": 10**9}, 64)
    config = {"embeddings": str(source), "out": str(tmp_path / "index")}
    with pytest.raises(UserError, match=r"a shard of de takes 35\d\.\d GiB to build and no node"):
        build_index(IndexConfig.model_validate({**config, "shard_rows": 10**9}))
    config = {"embeddings": str(source), "out": str(tmp_path / "other"), "factory": "IVF9,PQ4"}
    with pytest.raises(UserError, match=r"training on 1000000000 vectors takes 47\d\.\d GiB"):
        build_index(IndexConfig.model_validate({**config, "train_rows": 10**9}))


def test_no_vectors_at_all(tmp_path: Path, ray_cluster: None) -> None:
    source = write(tmp_path / "none", {"de": np.empty((0, 4), np.float32)})
    for use in (lambda: build_index(IndexConfig(embeddings=source, out=str(tmp_path / "index"))),
                lambda: streaming.StreamingSearcher(source).search_languages(np.ones((1, 4)), 1)):  # fmt: skip
        with pytest.raises(UserError, match="holds no vectors"):
            use()


def test_an_empty_language_is_no_language(tmp_path: Path, ray_cluster: None) -> None:
    rng = np.random.default_rng(0)
    source, index = make(tmp_path, {"de": unit(rng, 3), "en": np.empty((0, 24), np.float32)})
    queries = unit(rng, 2)
    with Searcher(index) as searcher:
        assert searcher.search(queries, 9).ids.shape == (2, 3)
        with pytest.raises(UserError, match="no language en"):
            searcher.search(queries, 9, ["en"])
    assert list(streaming.StreamingSearcher(source).search_languages(queries, 9)) == ["de"]
    with pytest.raises(UserError, match="no language en"):
        streaming.StreamingSearcher(source).search_languages(queries, 9, ["en"])


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
    for block in blocks(500, 7):
        np.testing.assert_array_equal(exact.scores(queries[3:5], documents[block], norm), whole[3:5, block])
