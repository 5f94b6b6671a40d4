"""Dolly's instructions."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError

ROW = {"instruction": "q", "context": "c", "response": "r", "category": "closed_qa"}


def test_context_and_response_answer_the_instruction(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "databricks-dolly-15k.jsonl", ROW, {**ROW, "context": ""}, {"instruction": "q"})
    found = read("dolly", file)
    assert columns(found.good, "row", "query", "passage", "query_lang") == [
        (0, "q", "r", "en"),
        (0, "q", "c", "en"),
        (1, "q", "r", "en"),
    ]
    assert columns(found.bad, "row", "reason") == [(2, "not of this format")]
    assert set(read("dolly", file, "de").good["passage_lang"].to_pylist()) == {"de"}


def test_another_format_is_one_line(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "alpaca.jsonl", {"instruction": "q", "output": "r"})
    with pytest.raises(UserError, match=r"line 1: .*format: keys instruction, output; needed: instruction, response"):
        read("dolly", file)
