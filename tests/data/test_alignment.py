"""The index of translations: any match of two streams is found without reading what lies before it."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data.align import blocks, shared, whole_index
from hbt_ray.data.alignment import INDEX_FILE, index_fingerprint
from hbt_ray.data.keys import shuffle_order
from hbt_ray.data.streams import StreamStore

ROW_GROUP = 4
# for each group, how many rows it has in each of three streams
GROUPS = st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=60)


def write(folder: str, groups: list[tuple[int, int, int]], cuts: int, block_rows: int) -> StreamStore:
    """A store of the groups, indexed in `cuts` parts."""
    ids = np.arange(len(groups))
    order = np.argsort(shuffle_order(ids, 0))
    keys = shuffle_order(ids, 0)[order]
    counts = np.array(groups, dtype=int).reshape(-1, 3)[order]
    bounds = np.linspace(0, len(groups), cuts + 1).astype(int)
    parts = []
    spans: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0])
    for first, stop in pairwise(bounds):
        of_streams = [np.repeat(keys[first:stop], counts[first:stop, stream]) for stream in range(3)]
        found = {(left, right): count for left, right, count in shared(of_streams, ["a", "a", "a"], 3)}
        found |= {(stream, stream): len(of_stream) for stream, of_stream in enumerate(of_streams)}
        for pair in [(0, 0), (1, 1), (2, 2), *combinations(range(3), 2)]:
            spans[pair].append(spans[pair][-1] + found.get(pair, 0))
        here = {pair: (of[-2], of[-1]) for pair, of in spans.items()}
        parts.append(blocks(dict(enumerate(of_streams)), here, ROW_GROUP, block_rows))
    index = whole_index(parts, {pair: of[-1] for pair, of in spans.items()}, ROW_GROUP, block_rows)
    storage.write_parquet(storage.join(folder, INDEX_FILE), index)
    entries = []
    for stream in range(3):
        rows = np.repeat(ids[order], counts[:, stream])
        path = f"streams/{stream}/part-00000.parquet"
        texts = pa.array([[int(row)] for row in rows], pa.list_(pa.int32()))
        storage.write_parquet(storage.join(folder, path), pa.table({"group": rows, "query": texts}), ROW_GROUP)
        entries.append(
            {"name": str(stream), "source": "s", "kind": "pairs", "languages": ["de", "de"], "rows": len(rows),
             "tokens": [0, 0], "lengths": {"query": [], "passage": []},
             "files": [{"path": path, "rows": len(rows), "bytes": 0}]}
        )  # fmt: skip
    told = {"block_rows": block_rows, "fingerprint": index_fingerprint(index)}
    body = {"seed": 0, "row_group_rows": ROW_GROUP, "alignment": told, "streams": entries, "counts": {},
            "tokenizer": {"fingerprint": "none"}}  # fmt: skip
    storage.commit(folder, "stream store", body)
    return StreamStore(folder)


@given(groups=GROUPS, cuts=st.integers(1, 4), block_rows=st.sampled_from([4, 8]), data=st.data())
@settings(max_examples=80, deadline=None)
def test_matches_are_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[tuple[int, int, int]],
    cuts: int,
    block_rows: int,
    data: st.DataObject,
) -> None:
    store = write(str(tmp_path_factory.mktemp("store")), groups, cuts, block_rows)
    order = np.argsort(shuffle_order(np.arange(len(groups)), 0)).tolist()
    expected: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for left, right in combinations(range(3), 2):
        rows, at = [], [0, 0]
        for group in order:
            here = groups[group][left], groups[group][right]
            for number in range(max(here) if min(here) else 0):
                rows.append((at[0] + number % here[0], at[1] + number % here[1]))
            at = [at[0] + here[0], at[1] + here[1]]
        if rows:
            expected[left, right] = rows
    alignment = store.alignment
    assert {tuple(pair): rows for pair, rows in zip(alignment.streams.tolist(), alignment.rows, strict=True)} == {
        pair: len(rows) for pair, rows in expected.items()
    }
    for number, pair in enumerate(alignment.streams.tolist()):
        rows = expected[tuple(pair)]
        asked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=20))
        found = store.matches(number, np.array(asked))
        assert list(zip(*(side.tolist() for side in found), strict=True)) == [rows[place] for place in asked]


def test_every_row_of_a_group_is_in_a_match(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = write(str(tmp_path_factory.mktemp("store")), [(2, 5, 0), (1, 1, 1), (0, 3, 3)], 1, 4)
    by_pair = {tuple(pair): number for number, pair in enumerate(store.alignment.streams.tolist())}
    left, right = store.matches(by_pair[0, 1], np.arange(6))
    assert sorted(set(left.tolist())) == [0, 1, 2] and len(set(right.tolist())) == 6


def test_another_index_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = str(tmp_path_factory.mktemp("store"))
    write(folder, [(1, 1, 1)] * 9, 1, 4)
    uri = storage.join(folder, INDEX_FILE)
    storage.write_parquet(uri, storage.read_parquet(uri).slice(1))
    with pytest.raises(UserError, match=r"alignment\.parquet is not as it was written"):
        _ = StreamStore(folder).alignment
