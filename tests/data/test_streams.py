"""Reading a store: any rows of a stream in any order, over files and row groups, and files that are not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data import rowgroups
from hbt_ray.data.streams import StreamStore

ROW_GROUP, FILE_ROWS, ROWS = 8, 32, 75
COLUMNS = ["group", "query", "passage"]
TABLE = pa.table(
    {
        "group": np.arange(ROWS),
        "query": pa.array([[row] * (row % 4) for row in range(ROWS)], pa.list_(pa.int32())),
        "passage": pa.array([[-row] * (row % 3) for row in range(ROWS)], pa.list_(pa.int32())),
        "negatives": pa.array([[[row]] * (row % 2) for row in range(ROWS)], pa.list_(pa.list_(pa.int32()))),
    }
)


def write_store(folder: str) -> StreamStore:
    files = []
    for start in range(0, ROWS, FILE_ROWS):
        path = f"streams/s/pairs-zh/part-{start // FILE_ROWS:05d}.parquet"
        part = TABLE.slice(start, FILE_ROWS)
        storage.write_parquet(storage.join(folder, path), part, ROW_GROUP)
        files.append({"path": path, "rows": part.num_rows, "bytes": storage.size(storage.join(folder, path))})
    stream = {"name": "s/pairs-zh", "source": "s", "kind": "pairs", "languages": ["zh", "zh"], "rows": ROWS}
    stream |= {"files": files, "tokens": [0, 0], "lengths": {"query": [], "passage": []}}
    body = {
        "seed": 0,
        "alignment": {"block_rows": ROW_GROUP, "fingerprint": "0"},
        "row_group_rows": ROW_GROUP,
        "tokenizer": {"fingerprint": "none"},
        "streams": [stream],
        "counts": {},
    }
    storage.commit(folder, "stream store", body)
    return StreamStore(folder)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StreamStore:
    place = str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("s3") + tmp_path.name
    return write_store(place)


@given(st.lists(st.integers(0, ROWS - 1), min_size=1), st.lists(st.sampled_from(TABLE.column_names), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_rows_come_as_they_are_asked_for(store: StreamStore, rows: list[int], columns: list[str]) -> None:
    columns = list(dict.fromkeys(columns))
    found = store.read(0, np.array(rows), columns)
    assert found.column_names == columns
    assert found.to_pylist() == TABLE.select(columns).take(rows).to_pylist()


def test_row_groups_stay_in_memory(store: StreamStore) -> None:
    first = store.read(0, np.arange(4), COLUMNS)
    storage.clear(storage.join(store.uri, "streams"))
    assert store.read(0, np.arange(4), COLUMNS) == first
    assert store.read(0, np.array([6, 5]), ["query"]).to_pylist() == [{"query": [6, 6]}, {"query": [5]}]
    for rows, columns in (([9], COLUMNS), ([0], ["negatives"]), ([74], COLUMNS)):
        with pytest.raises(UserError, match=r"no file .*part-0000[02]\.parquet"):
            store.read(0, np.array(rows), columns)


def test_what_stays_in_memory_is_bounded() -> None:
    lru = rowgroups.Lru(100)
    for key in range(5):
        lru.put(key, str(key), 30)
        assert lru.get(0) == "0"  # used again and again
    assert (lru.bytes, [lru.get(key) for key in range(5)]) == (90, ["0", None, None, "3", "4"])
    lru.put(3, "three", 10)
    assert (lru.bytes, lru.get(3)) == (70, "three")
    lru.put("large", "", 101)
    assert lru.bytes == 0


def test_another_store_at_the_same_place_is_another_store(tmp_path: Path) -> None:
    store = write_store(str(tmp_path))
    store.read(0, np.arange(8), ["group"])
    entry = store.manifest["streams"][0]
    changed = TABLE.set_column(0, "group", pa.array(np.arange(ROWS) + 1000))
    for file, start in zip(entry["files"], range(0, ROWS, FILE_ROWS), strict=True):
        storage.write_parquet(str(tmp_path / file["path"]), changed.slice(start, FILE_ROWS), ROW_GROUP)
    body = {key: value for key, value in store.manifest.items() if key not in ("kind", "version", "checksum")}
    storage.commit(str(tmp_path), "stream store", {**body, "seed": 1})
    assert StreamStore(str(tmp_path)).read(0, np.arange(8), ["group"])["group"].to_pylist() == list(range(1000, 1008))


def test_files_that_are_not_whole_are_named(store: StreamStore) -> None:
    store.check_files()
    last = storage.join(store.uri, store.streams[0].files[-1][0])
    whole = storage.read_bytes(last)
    storage.write_bytes(last, whole[:-9])
    with pytest.raises(UserError, match=rf"part-00002\.parquet .* has {len(whole) - 9} bytes and had {len(whole)}"):
        store.check_files()
    with pytest.raises(UserError, match=r"part-00002\.parquet is not a whole parquet file"):
        store.read(0, np.array([74]), COLUMNS)
    damaged = bytearray(whole)
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    damaged[4:-footer] = bytes(len(whole) - footer - 4)
    storage.write_bytes(last, bytes(damaged))
    store.check_files()  # which only looks
    with pytest.raises(UserError, match=r"part-00002\.parquet is not a whole parquet file"):
        store.read(0, np.array([64, 74]), [*COLUMNS, "negatives"])
    storage.clear(last)
    with pytest.raises(UserError, match=r"no file .*part-00002\.parquet"):
        store.check_files()
    storage.clear(storage.join(store.uri, "streams"))
    with pytest.raises(UserError, match=r"no file .*part-00000\.parquet"):
        store.check_files()


def test_bytes_are_those_the_footer_tells(store: StreamStore) -> None:
    """The ranges asked of an object store hold the chosen columns only."""
    path = storage.join(store.uri, store.streams[0].files[0][0])
    data = storage.read_bytes(path)
    footer = pq.read_metadata(pa.BufferReader(data))
    ranges = rowgroups._fetch(path, footer, [1, 3], ["query"])
    assert [data[start : start + len(found)] == found for start, found in ranges] == [True, True]
    (leaf,) = (n for n in range(footer.num_columns) if footer.schema.column(n).path.startswith("query."))
    sizes = [footer.row_group(group).column(leaf).total_compressed_size for group in (1, 3)]
    assert [len(found) for _, found in ranges] == sizes


def test_a_store_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    storage.commit(str(tmp_path), "stream store", {"streams": [], "counts": {}})
    with pytest.raises(UserError, match="was prepared by an earlier version of hbt_ray: prepare it again"):
        StreamStore(str(tmp_path))
