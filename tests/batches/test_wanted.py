"""Hard negatives and their scores: a slice has those that its step uses, and no other."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import Wanted, take_turns
from hbt_ray.config import Input, PlanConfig, PrepareConfig
from hbt_ray.data.prepare import prepare
from hbt_ray.data.streams import StreamStore
from hbt_ray.model import tokenizer

CONFIG = PlanConfig(batch_size=8, strategy="x-x")


@given(
    st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6)), max_size=8),
    st.integers(0, 7),
    st.integers(0, 1),
)
def test_elements_take_turns(values: list[list[int]], rows: list[tuple[int, int]], count: int, always: int) -> None:
    index, steps = (np.array([row[side] for row in rows], np.int64) for side in (0, 1))
    index %= len(values)
    found = take_turns(pa.array([[0], *values], pa.list_(pa.int32())).slice(1), index, steps, count, always)
    expected = []
    for row, step in zip(index.tolist(), steps.tolist(), strict=True):
        first, rest = values[row][:always], values[row][always:]
        expected.append(first + [rest[(step + choice) % len(rest)] for choice in range(min(count, len(rest)))])
    assert found.to_pylist() == expected


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> StreamStore:
    """Mined pairs and FlagEmbedding's, which have scores, pairs without, and some of which one has scores."""
    folder = tmp_path_factory.mktemp("scored")
    mined = {
        "query": [f"frage {row}" for row in range(40)],
        "passage": [f"antwort {row}" for row in range(40)],
        "score": pa.array([row / 64 for row in range(40)], pa.float32()),
        "negatives": [[f"antwort frage {row} {place}" for place in range(row % 6)] for row in range(40)],
        "negative_scores": pa.array(
            [[row / 64 - place - 1 for place in range(row % 6)] for row in range(40)], pa.list_(pa.float32())
        ),
    }
    pq.write_table(pa.table(mined), folder / "mined.parquet")
    scored = [
        {"query": f"q {row}", "pos": [f"p {row}"], "neg": [f"n {row} 0", f"n {row} 1"], "pos_scores": [row],
         "neg_scores": [-row, 0.5]}
        for row in range(40)
    ]  # fmt: skip
    (folder / "flag.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in scored))
    plain = {"query": ["a", "b"], "passage": ["c", "d"], "negatives": [["e"], []]}
    pq.write_table(pa.table(plain), folder / "plain.parquet")
    mixed = {**plain, "query": ["f", "g"], "scores": pa.array([[0.25, 0.125], None], pa.list_(pa.float32()))}
    pq.write_table(pa.table(mixed), folder / "mixed.parquet")
    languages = {"mined.parquet": "de", "flag.jsonl": "en", "plain.parquet": "de", "mixed.parquet": "sw"}
    config = PrepareConfig(
        input=tuple(
            Input(name=name.partition(".")[0], uri=str(folder / name), language=language)
            for name, language in languages.items()
        ),
        tokenizer="train:120",
        out=str(folder / "store"),
        partitions=3,
    )
    return StreamStore(prepare(config)["out"])


def test_scores_are_stored_where_there_are_some(store: StreamStore) -> None:
    scored = {stream.source: stream.scored for stream in store.streams}
    assert scored == {"mined": 40, "flag": 40, "plain": 0, "mixed": 1}
    for stream in store.streams:
        (path,) = (f"{store.uri}/{path}" for path, _ in stream.files)
        columns = ["group", "query", "passage", "negatives"] + ["scores"] * (stream.scored > 0)
        assert pq.read_schema(path).names == columns


def test_a_slice_has_the_negatives_of_its_step_and_their_scores(store: StreamStore) -> None:
    plan, words = Plan(store, CONFIG), tokenizer.load_tokenizer(store.tokenizer_uri)
    seen: Counter[str] = Counter()
    (value,) = chunk.read_chunk(store, plan, 3, 120, 1, Wanted(2, scores=True))
    (everything,) = chunk.read_chunk(store, plan, 3, 120, 1, Wanted(9, scores=True))
    (nothing,) = chunk.read_chunk(store, plan, 3, 120, 1)
    assert nothing.size < value.size < everything.size
    for part in chunk.slices(value, 0, 1):
        for pair in part.pairs.to_pylist():
            query, passage, *negatives = (
                words.decode(ids) for ids in (pair["query"], pair["passage"], *pair["negatives"])
            )
            seen[pair["source"]] += 1
            if pair["source"] == "mined":
                row = int(query.split()[1])
                used = [(part.step + choice) % (row % 6) for choice in range(min(2, row % 6))]
                assert passage == f"antwort {row}"
                assert negatives == [f"antwort frage {row} {place}" for place in used]
                assert pair["scores"] == [row / 64, *(row / 64 - place - 1 for place in used)]
            elif pair["source"] == "flag":
                row = int(query.split()[1])
                used = [(part.step + choice) % 2 for choice in (0, 1)]
                assert pair["scores"] == [row, *([-row, 0.5][place] for place in used)]
            else:
                assert pair["scores"] == ([0.25, 0.125] if query == "f" else [])
    assert set(seen) == {"mined", "flag", "plain", "mixed"}
    assert all("scores" not in part.pairs.column_names for part in chunk.slices(nothing, 0, 1))
