"""Tables in one file, read back alone by their byte ranges."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray import storage
from hbt_ray.data import exchange
from hbt_ray.data.exchange import Segment

TABLES = st.lists(st.lists(st.lists(st.integers(0, 1000), max_size=5), max_size=6), max_size=12).map(
    lambda tables: [pa.table({"tokens": pa.array(rows, pa.list_(pa.int32()))}) for rows in tables]
)


def segments(uri: str, offsets: list[int]) -> list[Segment]:
    return [Segment(uri, start, stop) for start, stop in pairwise(offsets)]


@given(TABLES, st.data(), st.integers(0, 2000))
def test_any_choice_of_segments_is_read_in_any_order(tables: list[pa.Table], data: st.DataObject, budget: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/part.arrows"
        offsets = exchange.write_segments(uri, iter(tables))
        assert offsets[-1] == Path(uri).stat().st_size
        assert [start == stop for _, start, stop in segments(uri, offsets)] == [not table.num_rows for table in tables]
        chosen = data.draw(st.lists(st.sampled_from(range(len(tables))))) if tables else []
        all_of = segments(uri, offsets)
        found = list(exchange.read_segments((all_of[n] for n in chosen), budget))
        assert found == [tables[n] for n in chosen if tables[n].num_rows]


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_write_that_breaks_off_leaves_nothing(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = str(tmp_path) if place == "local" else request.getfixturevalue("s3") + tmp_path.name
    table = pa.table({"n": list(range(100))})

    def tables() -> object:
        yield table
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        exchange.write_segments(storage.join(folder, "a"), tables())  # type: ignore[arg-type]
    assert storage.sizes(folder) == {}
    offsets = exchange.write_segments(storage.join(folder, "b"), [table, table.slice(7, 2)])
    assert storage.sizes(folder) == {"b": offsets[-1]}
    (found,) = exchange.read_segments(segments(storage.join(folder, "b"), offsets)[1:])
    assert found["n"].to_pylist() == [7, 8]
