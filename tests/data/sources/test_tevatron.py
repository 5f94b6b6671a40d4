"""Tevatron's first form, and its second with the corpus apart."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError

FIRST = {
    "query_id": "7",
    "query": "q",
    "positive_passages": [{"docid": "1", "title": "T", "text": "a"}, {"docid": "2", "title": "", "text": "b"}],
    "negative_passages": [{"docid": "3", "text": "x"}],
}


def test_passages_in_the_row(tmp_path: Path) -> None:
    expected = [("7", "q", "T a", ["x"]), ("7", "q", "b", ["x"])]
    lines = write_lines(tmp_path / "train.jsonl.gz", FIRST)
    assert columns(read("tevatron", lines, "th").good, "group", "query", "passage", "negatives") == expected
    pq.write_table(pa.Table.from_pylist([FIRST]), tmp_path / "train.parquet")
    table = read("tevatron", tmp_path / "train.parquet", "th").good
    assert columns(table, "group", "query", "passage", "negatives") == expected


def test_the_corpus_apart(tmp_path: Path) -> None:
    queries = write_lines(
        tmp_path / "queries.jsonl",
        {"query_id": 1, "query_text": "q", "positive_document_ids": ["b", "a"], "negative_document_ids": ["c"]},
        {"query_id": 2, "query_text": "r", "positive_document_ids": ["a"], "negative_document_ids": []},
        {"query_id": 3, "query_text": "s", "positive_document_ids": [], "negative_document_ids": []},
    )
    corpus = write_lines(
        tmp_path / "corpus.jsonl",
        *({"docid": key, "title": key.upper(), "text": f"text {key}"} for key in "abc"),
    )
    good = read("tevatron", corpus, "en", columns={"queries": str(queries)}).good
    assert columns(good, "row", "group", "query", "passage") == [
        (0, "1", "q", "A text a"),
        (0, "2", "r", "A text a"),
        (1, "1", "q", "B text b"),
    ]


def test_wrong_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl line 1: .*format: keys query; needed: query, positive_passages"):
        read("tevatron", write_lines(tmp_path / "train.jsonl", {"query": "q"}), "en")
    pq.write_table(pa.table({"query": ["q"], "pos": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet has no column positive_passages; it has query, pos"):
        read("tevatron", tmp_path / "train.parquet", "en")
    found = read("tevatron", write_lines(tmp_path / "train.jsonl", FIRST, {**FIRST, "positive_passages": ["a"]}), "en")
    assert columns(found.bad, "row", "reason") == [(1, "not of this format")]
    corpus = write_lines(tmp_path / "corpus.jsonl", {"docid": "a", "text": "t"}, {"docid": "b"})
    query = {"query_id": 1, "query_text": "q", "positive_document_ids": ["a"]}
    queries = {"queries": str(write_lines(tmp_path / "queries.jsonl", query, {**query, "positive_document_ids": "a"}))}
    with pytest.raises(UserError, match=r"queries\.jsonl row 2 is no query of Tevatron"):
        read("tevatron", corpus, "en", columns=queries)
    write_lines(tmp_path / "queries.jsonl", query)
    with pytest.raises(UserError, match=r"corpus\.jsonl row 2 is no passage: it needs docid, text"):
        read("tevatron", corpus, "en", columns=queries)
