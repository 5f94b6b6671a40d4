"""Approximate indexes: what they take, what they find of the exact result, and that they never make documents up."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from vectors import brute_force, names, unit, write

from hbt_ray import storage
from hbt_ray.config import IndexConfig, UserError
from hbt_ray.encode.embeddings import read_aligned
from hbt_ray.job import user_error
from hbt_ray.search import approximate, knobs, sample
from hbt_ray.search.build import build_index
from hbt_ray.search.factory import create_index, train_index
from hbt_ray.search.ranking import Hits
from hbt_ray.search.searcher import Searcher

ROWS = {"de": 1200, "en": 500, "sw": 3}


@pytest.fixture(scope="module")
def embeddings(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Documents in clumps, and queries near to them."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("embeddings")
    centres = unit(rng, 30)
    vectors = {language: centres[rng.integers(0, 30, rows)] + 0.3 * unit(rng, rows) for language, rows in ROWS.items()}
    queries = {"de": vectors["de"][:40] + 0.1 * unit(rng, 40), "en": vectors["en"][:9] + 0.1 * unit(rng, 9)}
    return write(folder / "documents", vectors), write(folder / "queries", queries)


def vectors_of(folder: str) -> np.ndarray:
    return sample.draw(folder, storage.read_manifest(folder, "embeddings"), 10**6)


def ordered(hits: Hits) -> None:
    """Lists are in the total order, without a document twice, and those that are short end with nothing."""
    for ids, scores in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True):
        found = [(score, key) for key, score in zip(ids, scores, strict=True) if key]
        assert found == sorted(set(found), reverse=True)
        assert {(key, score) for key, score in zip(ids, scores, strict=True) if not key} <= {("", -np.inf)}
        assert ids[: len(found)] == [key for _, key in found]
        known = {key for language, rows in ROWS.items() for key in names(language, rows)}
        assert known.issuperset(key for _, key in found)


@pytest.mark.parametrize("factory", ["IVF16,Flat", "HNSW8", "OPQ6,IVF4,PQ6x4", "SQ8", "IVF16,PQ6x4,RFlat"])
def test_recall_is_measured_and_reached(embeddings: tuple[str, str], tmp_path: Path, factory: str) -> None:
    documents, queries = embeddings
    built = build_index(
        IndexConfig(
            embeddings=documents,
            queries=queries,
            out=str(tmp_path),
            factory=factory,
            shard_rows=700,
            train_rows=900,
            recall_k=5,
        )
    )
    assert (built["languages"], built["shards"]) == (3, 4)
    told = storage.read_json(str(tmp_path / "recall.json"))
    assert (told["k"], told["queries"]) == (5, 49)
    assert told["operating_points"] == built["recall"]
    asked = vectors_of(queries)
    stored = {language: unsorted(documents, language) for language in ROWS}
    with Searcher(str(tmp_path), recall="0.90") as searcher:
        for language, points in built["recall"].items():
            found = searcher.search(asked, 5, [language])
            ordered(found)
            exact = [{key for key, _ in row[:5]} for row in brute_force(stored, asked, [language])]
            recall = np.mean([len(a & set(b)) / len(a) for a, b in zip(exact, found.ids.tolist(), strict=True)])
            assert recall == pytest.approx(points["0.90"]["recall"])
            values = told["recall"][language]
            best = max(value["recall"] for value in values)
            assert recall >= min(0.9, best)
            assert points["0.90"]["value"] is None or points["0.90"]["value"] <= points["0.99"]["value"]
        ordered(searcher.search(asked, 2000))
        with pytest.raises(UserError, match="does not tell exact ranks"):
            searcher.ranks(asked[:1], [["de:1"]])


def unsorted(folder: str, language: str) -> np.ndarray:
    """Vectors of a language in the order of their numbers."""
    return read_aligned(folder, names(language, ROWS[language]))


def test_all_lists_visited_is_exact(embeddings: tuple[str, str], tmp_path: Path) -> None:
    documents, queries = embeddings
    config = {"embeddings": documents, "out": str(tmp_path), "factory": "IVF8,Flat", "queries": queries}
    built = build_index(IndexConfig.model_validate(config))
    assert built["recall"]["de"]["0.99"]["recall"] >= 0.99
    assert storage.read_json(str(tmp_path / "recall.json"))["recall"]["de"][-1] == {"value": 8, "recall": 1.0}


def test_a_shard_on_disk_has_the_nprobe_that_was_chosen(embeddings: tuple[str, str], tmp_path: Path) -> None:
    documents, queries = embeddings
    config = {"embeddings": documents, "out": str(tmp_path), "factory": "OPQ6,IVF16,PQ6x4,RFlat", "queries": queries}
    built = build_index(IndexConfig.model_validate(config))
    for shard in storage.read_manifest(str(tmp_path), "index")["shards"]:
        index = faiss.read_index(str(tmp_path / "shards" / f"{shard['name']}.faiss"))
        chosen = built["recall"][shard["language"]]["0.95"]["value"]
        assert knobs.inner(index).nprobe == chosen


def test_the_sample_has_equal_shares_of_languages() -> None:
    assert sample.shares({"de": 1000, "en": 1000, "sw": 10}, 210) == {"sw": 10, "de": 100, "en": 100}
    assert sample.shares({"de": 5, "sw": 10}, 100) == {"de": 5, "sw": 10}
    assert sample.shares({"de": 5, "en": 5}, 1) == {"de": 0, "en": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "Bogus"}, "--factory Bogus: could not parse index string Bogus"),
        ({"factory": "IDMap,Flat"}, "--factory IDMap,Flat: an id map"),
        ({"factory": "IVF0,Flat"}, "--factory IVF0,Flat: a number in it is 0"),
        ({"factory": "PQ7"}, "--factory PQ7: .*multiple of the number of subquantizers"),
        ({"factory": "IVF64,Flat", "train_rows": 30}, r"--factory IVF64,Flat: .*\(30 vectors to train on\)"),
    ],
)
def test_factory_strings_that_cannot_be(
    embeddings: tuple[str, str], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    config = IndexConfig.model_validate({"embeddings": embeddings[0], "out": str(tmp_path), **changes})
    with pytest.raises(Exception, match=message) as raised:
        build_index(config)
    line = user_error(raised.value)
    assert line and "\n" not in line


def test_queries_of_another_model_are_refused(embeddings: tuple[str, str], tmp_path: Path) -> None:
    queries = write(tmp_path / "queries", {"de": unit(np.random.default_rng(0), 3)}, model="other")
    with pytest.raises(UserError, match="their model is other and the index's is m"):
        build_index(
            IndexConfig(embeddings=embeddings[0], out=str(tmp_path / "out"), factory="IVF4,Flat", queries=queries)
        )


def test_the_size_of_a_row_is_that_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for factory in ("IVF4,Flat", "PQ6x4", "HNSW16", "IVF4,PQ6x4", "SQ8", "IVF4,PQ6x4,RFlat"):
        index = create_index(factory, 24)
        train_index(index, unit(rng, 400), factory)
        empty = len(faiss.serialize_index(index))
        index.add(unit(rng, 1000))
        grown = (len(faiss.serialize_index(index)) - empty) / 1000
        assert grown == pytest.approx(approximate.row_bytes(index), rel=0.2), factory
