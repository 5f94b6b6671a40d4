"""Records of a partition to rows of streams, against a plain loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from hbt_ray.data.group import assign, duplicates
from hbt_ray.data.keys import shuffle_order
from hbt_ray.data.read import TOKENISED

LANGUAGES = ("de", "en", "zh-Hant")
Record = tuple[int, str, str, bool, int]  # group, query language, passage language, bitext, content
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.sampled_from(LANGUAGES),
        st.sampled_from(LANGUAGES),
        st.booleans(),
        st.integers(0, 3),
    ),
    max_size=80,
).map(
    lambda rows: [(group, query, query if bitext else passage, bitext, n) for group, query, passage, bitext, n in rows]
)
Streams = dict[tuple[str, str, tuple[str, str]], list[int]]


def plainly(records: list[Record], seed: int) -> tuple[Streams, list[int]]:
    keys = shuffle_order(tokenised(records)["group"].to_numpy(), seed).tolist()
    streams: Streams = defaultdict(list)
    lonely = []
    for number in sorted(range(len(records)), key=lambda number: (keys[number], records[number][4], number)):
        group, query, passage, bitext, _ = records[number]
        others = {other for g, other, _, is_bitext, _ in records if g == group and is_bitext}
        if bitext and len(others) < 2:
            lonely.append(number)
            continue
        kind = "cross-lingual" if query != passage else "bitext" if bitext else "pairs"
        streams[source_of(group), kind, (query, passage)].append(number)
    return streams, sorted(lonely)


def source_of(group: int) -> str:
    return f"s{group % 2}"


def tokenised(records: list[Record]) -> pa.Table:
    columns: dict[str, Sequence[Any]] = {
        "group": [group for group, *_ in records],
        "query_lang": [query for _, query, *_ in records],
        "passage_lang": [passage for _, _, passage, *_ in records],
        "bitext": [bitext for *_, bitext, _ in records],
        "content": [content for *_, content in records],
        "source": [source_of(group) for group, *_ in records],
    }
    return pa.table({name: columns.get(name, [None] * len(records)) for name in TOKENISED.names}, schema=TOKENISED)


@given(RECORDS, st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_streams_are_what_a_plain_loop_makes(records: list[Record], seed: int) -> None:
    table = tokenised(records)
    streams, lonely = assign(table, shuffle_order(table["group"].to_numpy(), seed))
    plain_streams, plain_lonely = plainly(records, seed)
    assert {(s.source, s.kind, s.languages): s.records.tolist() for s in streams} == plain_streams
    assert sorted(lonely.tolist()) == plain_lonely
    assert [s.name for s in streams] == sorted({s.name for s in streams})
    for stream in streams:
        seen = set()
        for number, same in zip(stream.records.tolist(), duplicates(table, stream.records).tolist(), strict=True):
            told = (records[number][0], records[number][4])
            assert same == (told in seen)
            seen.add(told)
