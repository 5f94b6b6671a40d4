"""`lists.take` against Arrow's own."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.data import lists

numbers = st.integers(-(2**31), 2**31 - 1)
columns = {
    "numbers": (numbers, pa.int64()),
    "texts": (st.text(max_size=4), pa.string()),
    "lists": (st.lists(numbers, max_size=5), pa.list_(pa.int32())),
    "lists of texts": (st.lists(st.text(max_size=3), max_size=3), pa.list_(pa.string())),
    "lists of lists": (st.lists(st.lists(numbers, max_size=3), max_size=3), pa.list_(pa.list_(pa.int32()))),
}


@pytest.mark.parametrize("kind", columns)
@given(data=st.data())
def test_rows_are_those_arrow_takes(kind: str, data: st.DataObject) -> None:
    values, of_type = columns[kind]
    column = pa.array(data.draw(st.lists(values, min_size=1, max_size=8)), of_type)
    start = data.draw(st.integers(0, len(column) - 1))
    part = column.slice(start, data.draw(st.integers(1, len(column) - start)))  # slices share the values of the whole
    index = np.array(data.draw(st.lists(st.integers(0, len(part) - 1), max_size=12)), dtype=np.int64)
    found = lists.take(part, index)
    found.validate(full=True)
    assert found.equals(part.take(pa.array(index)))


def test_lists_over_numbers_that_begin_later() -> None:
    column = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array([9, 1, 2, 3], pa.int32()).slice(1))
    assert lists.take(column, np.array([1, 0])).to_pylist() == [[3], [1, 2]]
