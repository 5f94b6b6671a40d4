"""Translation structs, as the hub has WMT and OPUS."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError

SENTENCE = ("row", "query_lang", "passage_lang", "query", "passage", "bitext")
PAIR = {"translation": {"de": "Satz", "en": "sentence"}}
EXPECTED = [(0, "de", "de", "Satz", "Satz", True), (0, "en", "en", "sentence", "sentence", True)]


def test_structs(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([PAIR, {"translation": {"de": "a", "en": "b"}}]), tmp_path / "train.parquet")
    good = read("wmt", tmp_path / "train.parquet").good
    assert columns(good, *SENTENCE)[:2] == EXPECTED
    groups = good["group"].to_pylist()
    assert groups[0] == groups[1] != groups[2] == groups[3]
    lines = read("wmt", write_lines(tmp_path / "de-en.jsonl.gz", {"translation": {"en": "b", "de": "a"}})).good
    assert set(lines["group"].to_pylist()) == set(groups[2:])  # which neither row nor file decides


def test_rows_without_a_translation(tmp_path: Path) -> None:
    alone, none = {"translation": {"de": "Satz", "en": None}}, {"translation": "Satz"}
    found = read("wmt", write_lines(tmp_path / "de-en.jsonl", PAIR, alone, none))
    assert columns(found.bad, "row", "reason") == [
        (1, "bitext without a translation"),
        (2, "not of this format"),
    ]
    with pytest.raises(UserError, match=r"de-en\.jsonl line 1: not of this format: keys de, en; needed: translation"):
        read("wmt", write_lines(tmp_path / "de-en.jsonl", {"de": "Satz", "en": "sentence"}))
