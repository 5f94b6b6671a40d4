"""Pairs of files aligned by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError

SENTENCE = ("row", "query_lang", "passage_lang", "query", "passage", "bitext")
EXPECTED = [(0, "de", "de", "Satz", "Satz", True), (0, "en", "en", "sentence", "sentence", True)]


def moses(folder: Path, german: list[str], english: list[str], ending: str = "") -> Path:
    write_lines(folder / f"europarl-v7.de-en.en{ending}", *english)
    return write_lines(folder / f"europarl-v7.de-en.de{ending}", *german)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pairs_of_files(ending: str, tmp_path: Path) -> None:
    german = moses(tmp_path, ["Satz", "\u2028zwei"], ["sentence", "two"], ending)
    good = read("moses", german).good
    assert columns(good, *SENTENCE)[:2] == EXPECTED
    assert good["query"].to_pylist()[2:] == ["zwei", "two"]
    beside = [german.with_name(f"europarl-v7.de-en.en{ending}"), tmp_path / "README", tmp_path / "a.de-en.ids"]
    assert [read("moses", file).good.num_rows for file in beside] == [0, 0, 0]


def test_pairs_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    german = moses(tmp_path, ["eins", "zwei"], ["one"])
    with pytest.raises(UserError, match=r"\.de and .*\.en are not aligned: one ends at line 1, the other goes on"):
        read("moses", german)
    german.with_name("europarl-v7.de-en.en").unlink()
    with pytest.raises(UserError, match=r"no file .*europarl-v7\.de-en\.en"):
        read("moses", german)
    with pytest.raises(UserError, match=r"train\.de is no file of a pair such as name\.de-en\.de"):
        read("moses", write_lines(tmp_path / "train.de", "eins"))
    german.write_bytes(b"gut\n\xff\n")
    german.with_name("europarl-v7.de-en.en").write_text("good\nbad\n")
    found = read("moses", german)
    assert columns(found.good, "query") == [("gut",), ("good",), ("bad",)]
    assert found.bad["row"].to_pylist() == [1]
