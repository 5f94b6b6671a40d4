"""Records of a partition to rows of streams, against a plain loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from hbt_ray.data.group import assign
from hbt_ray.data.read import TOKENISED, shuffle_order

LANGUAGES = ("de", "en", "zh-Hant")
# group, query language, passage language, bitext
RECORDS = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(LANGUAGES), st.sampled_from(LANGUAGES), st.booleans()), max_size=80
).map(lambda rows: [(group, query, query if bitext else passage, bitext) for group, query, passage, bitext in rows])
Streams = dict[tuple[str, str, tuple[str, ...]], list[list[int]]]


def plainly(records: list[tuple[int, str, str, bool]], order: np.ndarray) -> tuple[Streams, dict[str, list[int]]]:
    streams: Streams = defaultdict(list)
    left_out: dict[str, list[int]] = defaultdict(list)
    places = dict(zip((group for group, *_ in records), order, strict=True))
    for group in sorted(places, key=places.__getitem__):
        members: dict[bool, dict[str, int]] = {False: {}, True: {}}
        numbers = [number for number, record in enumerate(records) if record[0] == group]
        for number in sorted(numbers, key=lambda number: records[number][1]):
            _, query, passage, bitext = records[number]
            if query != passage:
                streams[source_of(group), "cross-lingual", (query, passage)].append([number])
            elif query in members[bitext]:
                left_out[f"a second row in {query} in its group"].append(number)
            else:
                members[bitext][query] = number
        for bitext, found in members.items():
            if bitext and len(found) == 1:
                left_out["bitext without a translation"] += found.values()
            elif found:
                streams[source_of(group), "bitext" if bitext else "pairs", tuple(found)].append([*found.values()])
    return streams, left_out


def source_of(group: int) -> str:
    return f"s{group % 2}"


def tokenised(records: list[tuple[int, str, str, bool]]) -> pa.Table:
    groups, queries, passages, bitext = zip(*records, strict=True) if records else ((), (), (), ())
    columns: dict[str, Sequence[Any]] = {
        "group": groups,
        "query_lang": queries,
        "passage_lang": passages,
        "bitext": bitext,
    }
    columns |= {"source": [source_of(group) for group in groups]}
    return pa.table({name: columns.get(name, [None] * len(records)) for name in TOKENISED.names}, schema=TOKENISED)


def check(records: list[tuple[int, str, str, bool]], seed: int) -> None:
    table = tokenised(records)
    order = shuffle_order(table["group"].to_numpy(), seed)
    streams, left_out = assign(table, order)
    plain_streams, plain_left_out = plainly(records, order)
    assert len({(s.source, s.kind, s.languages) for s in streams}) == len(streams)
    assert {(s.source, s.kind, s.languages): s.records.tolist() for s in streams} == plain_streams
    assert {reason: sorted(found) for reason, found in left_out.items()} == {
        reason: sorted(found) for reason, found in plain_left_out.items()
    }


@given(RECORDS, st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_streams_are_what_a_plain_loop_makes(records: list[tuple[int, str, str, bool]], seed: int) -> None:
    check(records, seed)


def test_many_groups_of_one_kind_are_one_stream() -> None:
    check([(group, language, language, False) for group in range(300) for language in LANGUAGES[group % 2 :]], 0)
