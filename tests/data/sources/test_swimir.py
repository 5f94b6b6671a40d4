"""SWIM-IR's monolingual and cross-lingual parts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError

ROW = {"_id": "1", "lang": "Chinese", "code": "zh", "query": "q", "title": "Menlo Park", "text": "is a town"}
SIDES = ("query_lang", "passage_lang", "query", "passage")


def test_passages_are_english_or_in_the_row_language(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "train-00000-of-00001.parquet")
    cross = read("swim-ir", tmp_path / "train-00000-of-00001.parquet").good
    assert columns(cross, *SIDES) == [("zh", "en", "q", "Menlo Park is a town")]
    lines = write_lines(tmp_path / "zh.jsonl", ROW, {**ROW, "code": "fr", "title": ""})
    assert columns(read("swim-ir-monolingual", lines).good, *SIDES) == [
        ("zh", "zh", "q", "Menlo Park is a town"),
        ("fr", "fr", "q", "is a town"),
    ]


def test_a_wrong_column_is_one_line(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "zh.jsonl", {"query": "q", "text": "t"})
    with pytest.raises(UserError, match=r"zh\.jsonl line 1: .*format: keys query, text; needed: code, query, text"):
        read("swim-ir", file)
    found = read("swim-ir", write_lines(file, ROW, {**ROW, "code": "nolang"}))
    assert found.bad["row"].to_pylist() == [1]
