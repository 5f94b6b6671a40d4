"""Indexes and collections that a stranger made, with right checksums: searched as they are, or refused in a line."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vectors
from hostile import LONG, assert_clear, forged, mutants

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.encode import embeddings
from hbt_ray.search import groups, recall, sample, store
from hbt_ray.search.queries import QueryEncoder
from hbt_ray.search.shard import ShardActor

WIDTH, ROWS = 8, 60


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index with an exact shard and an approximate one."""
    matrix = vectors.unit(np.random.default_rng(0), ROWS, WIDTH)
    ids = pa.array(sorted(vectors.names("de", ROWS), reverse=True), pa.large_string())
    shards = []
    for number, factory in enumerate(("Flat", "IVF2,Flat")):
        made = faiss.index_factory(WIDTH, factory, faiss.METRIC_INNER_PRODUCT)
        made.train(matrix)
        made.add(matrix)
        shards.append(store.write_shard(str(tmp_path), f"{number:06d}-de", "de", made, ids))
    points = {target: {"value": 1, "recall": 1.0} for target in ("0.90", "0.95", "0.99")}
    body = {"model": "m", "model_fingerprint": "f", "role": "passage", "width": WIDTH, "rows": 2 * ROWS}
    body |= {"encoder": {"model": "m"}, "embeddings": "e", "factory": "Flat", "exact": True}
    storage.commit(str(tmp_path), "index", {**body, "operating_points": {"de": points}, "shards": shards})
    return tmp_path


def use(index: str) -> None:
    manifest = store.manifest_of(index)
    shards = {shard["name"]: shard for shard in manifest["shards"]}
    assert sum(shard["bytes"] + shard["rows"] for shard in shards.values()) >= 0
    recall.shortfall(manifest["operating_points"], "0.95")
    QueryEncoder(manifest)
    actor = ShardActor(index, shards, manifest["width"], 1, False)
    for name in shards:
        actor.search(name, np.ones((2, manifest["width"]), np.float32), 3, None)


def refused(what: str, run: Callable[[], object]) -> bool:
    """Whether it is refused in a clear line; it may as well be done."""
    try:
        run()
    except UserError as error:
        assert_clear(error, what)
        return True
    except Exception as error:
        raise AssertionError(what) from error
    return False


def test_a_manifest_of_an_index_with_anything_in_it(index: Path) -> None:
    use(str(index))
    manifest = storage.read_json(str(index / "manifest.json"))
    count = 0
    for what, mutant in mutants(manifest, 150):
        storage.write_json(str(index / "manifest.json"), forged(mutant))
        count += refused(what, lambda: use(str(index)))
    assert count > 75


def test_a_shard_with_anything_in_it(index: Path) -> None:
    manifest = storage.read_json(str(index / "manifest.json"))
    chance = random.Random(0)
    for shard in manifest["shards"]:
        path = index / "shards" / f"{shard['name']}.faiss"
        whole = path.read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            if chance.random() < 0.3:
                del data[chance.randrange(len(data)) :]
            else:
                place = chance.randrange(min(len(data), 150))
                data[place : place + 8] = chance.choice(
                    [b"\xff" * 8, b"\0" * 8, (2**36).to_bytes(8, "little"), b"\x7f"]
                )
            path.write_bytes(data)
            shard["sha256"] = hashlib.sha256(data).hexdigest()
            storage.write_json(str(index / "manifest.json"), forged(manifest))
            refused(f"{shard['name']}", lambda: use(str(index)))
        path.write_bytes(whole)
        shard["sha256"] = hashlib.sha256(whole).hexdigest()


TABLES = [
    pa.table({"x": [1]}),
    pa.table({"id": [1, 2], "vector": [1, 2]}),
    pa.table({"id": ["a"], "vector": [["x"]]}),
    pa.table({"id": pa.array([None, "de:1"]), "vector": [[1.0], [2.0]]}),
    pa.table({"id": pa.array([], pa.string()), "vector": pa.array([], pa.list_(pa.float32(), WIDTH))}),
    pa.table({"id": ["de:1"], "vector": pa.array([[1.0] * 3], pa.list_(pa.float32(), 3))}),
    pa.table({"id": ["de:1"] * ROWS, "vector": pa.array([None] * ROWS, pa.list_(pa.float32(), WIDTH))}),
    pa.table({"id": [LONG], "vector": pa.array([[1.0] * WIDTH], pa.list_(pa.float32(), WIDTH))}),
    pa.table({"id": [{"a": 1}], "vector": [{"b": 2}]}),
]


def written(table: pa.Table) -> bytes:
    data = io.BytesIO()
    pq.write_table(table, data)
    return data.getvalue()


FILES = [*map(written, TABLES), b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"]


@pytest.mark.parametrize("data", FILES, ids=range(len(FILES)))
def test_files_that_are_not_what_the_manifest_says(
    index: Path, tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    manifest = storage.read_json(str(index / "manifest.json"))
    shard = manifest["shards"][0]
    (index / "shards" / f"{shard['name']}.ids.parquet").write_bytes(data)
    shard["ids_sha256"] = hashlib.sha256(data).hexdigest()
    storage.write_json(str(index / "manifest.json"), forged(manifest))
    refused("ids", lambda: use(str(index)))  # or taken, where only the vectors beside them are wrong

    folder = tmp_path_factory.mktemp("collection")
    collection = vectors.write(folder, {"de": vectors.unit(np.random.default_rng(0), ROWS, WIDTH)})
    manifest = storage.read_json(str(folder / "manifest.json"))
    part = manifest["parts"][0]
    Path(embeddings.part_uri(collection, part)).write_bytes(data)
    part["sha256"] = hashlib.sha256(data).hexdigest()
    storage.write_json(str(folder / "manifest.json"), forged(manifest))
    assert refused("part", lambda: use_collection(collection))


def use_collection(uri: str) -> Any:
    manifest = groups.embeddings_manifest(uri)
    sample.shares(manifest["rows_by_language"], 10)
    for group in groups.cut_groups(manifest["parts"], 1000):
        group.memory(manifest["width"])
        groups.read_group(uri, group, np.empty((group.rows, manifest["width"]), np.float32))
    return embeddings.read_aligned(uri, ["de:1"])


def test_a_manifest_of_a_collection_with_anything_in_it(tmp_path: Path) -> None:
    uri = vectors.write(tmp_path, {"de": vectors.unit(np.random.default_rng(0), ROWS, WIDTH)})
    use_collection(uri)
    manifest = storage.read_json(str(tmp_path / "manifest.json"))
    count = 0
    for what, mutant in mutants(manifest, 150):
        storage.write_json(str(tmp_path / "manifest.json"), forged(mutant))
        count += refused(what, lambda: use_collection(uri))
    assert count > 75
