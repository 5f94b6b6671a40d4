"""FlagEmbedding's files: several positives, negatives, teacher's scores and prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources.layout import Layout
from hbt_ray.data.sources.public import PUBLIC

SCORED = {"query": "q", "pos": ["a", "b"], "neg": ["x", "y"], "pos_scores": [9, 8.5], "neg_scores": [1, -2.5]}


def test_a_record_a_positive_with_negatives_and_scores(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "toy.jsonl.gz", SCORED, {"query": "r", "pos": ["c"], "neg": []})
    good = read("flagembedding", file, "de").good
    assert columns(good, "query", "passage", "negatives", "scores") == [
        ("q", "a", ["x", "y"], [9, 1, -2.5]),
        ("q", "b", ["x", "y"], [8.5, 1, -2.5]),
        ("r", "c", [], []),
    ]
    assert set(columns(good, "source", "group", "query_lang", "passage_lang")) == {("data", None, "de", "de")}


def test_lines_named_json_and_prompts(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "toy.json", {"query": "q", "pos": ["a"], "prompt": "Find it: "})
    assert read("flagembedding", file, "en").good["query"].to_pylist() == ["Find it: q"]


def test_another_format_or_language_is_one_line(tmp_path: Path) -> None:
    other = write_lines(tmp_path / "toy.jsonl", {"anchor": "q", "positive": "a"})
    with pytest.raises(UserError, match=r"toy\.jsonl line 1: .*format: keys anchor, positive; needed: query, pos"):
        read("flagembedding", other, "en")
    with pytest.raises(UserError, match=r"toy\.jsonl: nothing tells its language; give --language"):
        read("flagembedding", write_lines(tmp_path / "toy.jsonl", SCORED))


def test_bad_rows_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    scores, no_format = "scores do not fit the negatives", "not of this format"
    odd: list[tuple[dict[str, Any] | str, str]] = [
        ({**SCORED, "pos": "a"}, no_format),
        ({**SCORED, "pos": []}, "passage is empty"),
        ({**SCORED, "neg_scores": [1]}, scores),
        ({"query": "q", "pos": ["a"], "pos_scores": ["2"]}, "a score is no finite number"),
        ({"query": "q", "pos": ["a"], "pos_scores": [1e39]}, "a score is no finite number"),
        ({**SCORED, "pos": ["a"], "pos_scores": [1], "neg_scores": [float("nan"), 1]}, "a score is no finite number"),
        ({**SCORED, "pos_scores": None}, scores),
        ("not json", "no JSON object"),
        ({"query": "q"}, no_format),
        ({"query": "q", "pos": ["a"], "neg": ["\ud800"]}, "a negative is not UTF-8"),
    ]
    file = write_lines(tmp_path / "toy.jsonl", SCORED, *(row for row, _ in odd), SCORED)
    found = read("flagembedding", file, "en")
    assert found.good["row"].to_pylist() == [0, 0, 11, 11]
    assert columns(found.bad, "row", "reason") == [(row, reason) for row, (_, reason) in enumerate(odd, start=1)]


def test_batches_are_bounded_by_their_texts(tmp_path: Path) -> None:
    line = {"query": "q", "pos": ["a"], "neg": ["b" * (records.BATCH_BYTES // 2 + 1)]}
    file = write_lines(tmp_path / "toy.jsonl", line, line, line)
    tables = PUBLIC["flagembedding"].read(FilePiece(str(file)), Layout("data", "en", "en"))
    assert [table.num_rows for table in tables] == [2, 1]
