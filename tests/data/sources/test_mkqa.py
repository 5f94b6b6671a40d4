"""MKQA's questions in many languages."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError


def test_questions_of_mkqa(tmp_path: Path) -> None:
    queries = {"en": "who sings", "ru": "кто поет", "zh_cn": "谁演唱的", "zh_tw": "誰唱的"}
    answers = {"en": [{"type": "entity", "text": "Dave Edmunds"}]}
    row = {"query": "who sings", "answers": answers, "queries": queries, "example_id": -563260143484355911}
    good = read("mkqa", write_lines(tmp_path / "mkqa.jsonl.gz", row)).good
    assert columns(good, "query_lang", "query") == [
        ("en", "who sings"),
        ("ru", "кто поет"),
        ("zh", "谁演唱的"),
        ("zh-Hant", "誰唱的"),
    ]
    assert set(columns(good, "group", "bitext")) == {("-563260143484355911", True)}
    with pytest.raises(UserError, match=r"line 1: .*format: keys example_id, query; needed: example_id, queries"):
        read("mkqa", write_lines(tmp_path / "mkqa.jsonl", {"example_id": 1, "query": "who sings"}))
    with pytest.raises(UserError, match=r"its rows tell their languages; leave out the language en"):
        read("mkqa", write_lines(tmp_path / "mkqa.jsonl", row), "en")
