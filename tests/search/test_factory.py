"""Factory strings: refused before anything is built, or with their knob found wherever it lies. Needs no cluster."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest
from vectors import names, unit

from hbt_ray.config import UserError
from hbt_ray.search import knobs, recall, store
from hbt_ray.search.approximate import Approximate
from hbt_ray.search.factory import create_index, train_index, try_index

ROWS, WIDTH = 1000, 24


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("IDMap,Flat", "an id map"),
        ("IDMap2,Flat", "an id map"),
        ("IVF4,Flat,IDMap", "an id map"),
        ("IDMap,IVF4,PQ6,RFlat", "an id map"),
        ("IVF4,Flat,Refine(IDMap,Flat)", "an id map"),
        ("PQ6,Refine(PQ6x4fs)", "cannot refine with an index of kind IndexPQFastScan"),  # ends it at the first search
        ("PQ6,Refine(IVF4,Flat)", "cannot refine with an index of kind IndexIVFFlat"),  # likewise
        ("PQ6,Refine(PQ6,RFlat)", "cannot refine with an index of kind IndexRefine"),  # likewise
        ("IVF4,PQ6,Refine(PCA12,IVF4,Flat)", "cannot refine with an index of kind IndexPreTransform"),
        ("IVF0,Flat", "a number in it is 0"),
        ("HNSW0", "a number in it is 0"),  # ends the process where FAISS builds it
        ("PQ6x0", "a number in it is 0"),  # likewise
        ("IVF4_HNSW0,Flat", "a number in it is 0"),
        ("PCA00,Flat", "a number in it is 0"),
        ("HNSW1,Flat", "two links"),  # likewise
        ("IVF4_HNSW1,Flat", "two links"),
        ("HNSW8_PQ6", "distances, not inner products"),
        ("LSH", "metric == METRIC_L2"),
        ("NSG16", "kind IndexNSGFlat"),
        ("MinMax,SQ8", "kind IndexRowwiseMinMax"),
        ("PCA64,Flat", "24 numbers 64 wide"),
        ("PCA12,PCA24,IVF4,Flat", "12 numbers 24 wide"),
        ("OPQ7,PQ6", "OPQ7 cannot divide vectors of 24 numbers"),
        ("OPQ6_64,IVF4,PQ8", "OPQ6 cannot divide vectors of 64 numbers"),
        ("PCA12,PQ8", "multiple of the number of subquantizers"),
        ("IVF4", "could not parse"),
        ("", "could not parse"),
        ("IVF4, Flat", "could not parse"),
        ("IVF4(Flat", "parentheses"),
        ("IVF99999999999,Flat", "stoi"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_it(factory: str, why: str) -> None:
    with pytest.raises(UserError) as raised:
        create_index(factory, WIDTH)
    line = str(raised.value)
    assert line.startswith(f"--factory {factory}: ")
    assert why in line
    assert "\n" not in line


def test_an_index_that_cannot_be_filled_or_ranks_by_distance_is_refused_once_trained() -> None:
    for index, why in ((faiss.IndexIDMap(faiss.IndexFlatIP(8)), "add does not make sense"),
                       (faiss.IndexFlatL2(8), "distances, not inner products")):  # fmt: skip
        with pytest.raises(UserError, match=f"^--factory X: .*{why}"):
            try_index(faiss.serialize_index(index), "X")


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    found: np.ndarray = unit(rng, 30)[rng.integers(0, 30, ROWS)] + 0.7 * unit(rng, ROWS)
    return found.astype(np.float32)


def built(factory: str, vectors: np.ndarray) -> Approximate:
    index = create_index(factory, WIDTH)
    train_index(index, vectors, factory)
    knobs.turn(index, knobs.usual(index))
    try_index(faiss.serialize_index(index), factory)
    ids = sorted(names("en", len(vectors)), reverse=True)
    index.add(vectors)
    return Approximate(index, pa.array(ids, pa.large_string()))


@pytest.mark.parametrize(
    ("factory", "knob", "reached"),
    [
        ("IVF16,Flat", "nprobe", 1.0),
        ("IVF16,PQ6x4", "nprobe", 0.0),
        ("IVF16,PQ6x4,RFlat", "nprobe", 0.99),
        ("OPQ6,IVF16,PQ6x4,RFlat", "nprobe", 0.99),
        ("IVF16,PQ6x4,Refine(SQ8)", "nprobe", 0.95),
        ("PCA20,IVF16,SQ8", "nprobe", 0.7),
        ("IVF16_HNSW8,PQ6x4fs,RFlat", "nprobe", 0.99),
        ("IVF16,RaBitQ,RFlat", "nprobe", 0.95),
        ("HNSW4", "efSearch", 0.99),
        ("PCA20,HNSW8,RFlat", "efSearch", 0.99),
        ("PQ6x4,RFlat", "k_factor", 1.0),
        ("OPQ6,PQ6x4,Refine(SQ8)", "k_factor", 0.95),
    ],
)
def test_the_knob_is_turned_wherever_it_lies(
    vectors: np.ndarray, tmp_path: Path, factory: str, knob: str, reached: float
) -> None:
    shard = built(factory, vectors)
    assert knobs.knob(shard.index) == knob
    values = knobs.efforts(shard.index)
    assert len(values) >= 5
    queries = vectors[:60] + 0.2 * unit(np.random.default_rng(1), 60)
    order = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]
    exact = [{shard.ids[int(place)].as_py() for place in row} for row in order]

    def share(effort: int | None, of: Approximate = shard) -> float:
        found = of.best(queries, 10, effort)
        lists = np.array(found.ids.to_pylist(), dtype=object)[found.places].tolist()
        return float(np.mean([len(one & set(other)) / 10 for one, other in zip(exact, lists, strict=True)]))

    curve = [{"value": value, "recall": share(value)} for value in values]
    best = max(curve, key=lambda point: point["recall"])
    assert best["recall"] >= reached
    if reached:
        assert curve[0]["recall"] < best["recall"]  # the knob does something
    points = recall.operating_points(curve)
    target = points["0.95"]
    least = next((point for point in curve if point["recall"] >= 0.95), best)
    assert target == least
    # the file keeps the value, for other tools and for a search that names none
    knobs.turn(shard.index, int(target["value"]))
    entry = store.write_shard(str(tmp_path), "000000-en", "en", shard.index, shard.ids)
    again = store.load_shard(str(tmp_path), entry, shard.index.d)
    assert isinstance(again, Approximate)
    assert share(None, again) == target["recall"]


def test_a_recall_that_no_setting_reaches_is_said_and_the_best_is_taken() -> None:
    falling = [{"value": 1, "recall": 0.21}, {"value": 2, "recall": 0.21}, {"value": 4, "recall": 0.17}]
    rising = [{"value": 1, "recall": 0.5}, {"value": 2, "recall": 0.96}, {"value": 4, "recall": 0.97}]
    points = {"de": recall.operating_points(falling), "en": recall.operating_points(rising)}
    assert [points["de"]["0.95"]["value"], points["en"]["0.95"]["value"]] == [1, 2]
    assert recall.shortfall(points, "0.95") == (
        "no measured setting of the index reaches --recall 0.95; the best finds: de 0.210"
    )
    assert "de 0.210, en 0.970" in str(recall.shortfall(points, "0.99"))
    assert recall.shortfall({"en": points["en"]}, "0.90") is None
    assert recall.shortfall({}, "0.90") is None


def test_an_index_without_a_knob_is_searched_as_a_whole(vectors: np.ndarray) -> None:
    shard = built("SQ8", vectors)
    assert (knobs.knob(shard.index), knobs.efforts(shard.index), knobs.usual(shard.index)) == (None, [], None)
