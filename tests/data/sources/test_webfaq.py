"""WebFAQ's questions by language, and its bitexts by pair of languages."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources.layout import Layout
from hbt_ray.data.sources.public import PUBLIC
from hbt_ray.data.sources.webfaq import languages_in_name

ROW = {"id": "1", "origin": "https://a.example", "url": "https://a.example/faq", "question": "q", "answer": "a"}
BITEXT = {"origin": "x", "question1": "f", "answer1": "s", "question2": "q", "answer2": "a"}
SIDES = ("query_lang", "passage_lang", "query", "passage")


def test_the_name_tells_the_language(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW, {**ROW, "answer": None}]), tmp_path / "deu.parquet")
    found = read("webfaq", tmp_path / "deu.parquet")
    assert columns(found.good, *SIDES) == [("de", "de", "q", "a")]
    assert columns(found.bad, "row", "reason") == [(1, "passage is empty")]
    file = write_lines(tmp_path / "ita" / "faqs.jsonl.gz", ROW)
    assert columns(read("webfaq", file).good, *SIDES) == [("it", "it", "q", "a")]


def test_names_of_splits_are_no_languages(tmp_path: Path) -> None:
    assert languages_in_name("data/deu.parquet") == {"lang": "deu"}
    assert [languages_in_name(f"data/{name}.parquet") for name in ("dev", "val", "all", "xyz", "train")] == [{}] * 5
    with pytest.raises(UserError, match=r"all\.jsonl: nothing tells its language; give --language"):
        read("webfaq", write_lines(tmp_path / "all.jsonl", ROW))
    with pytest.raises(UserError, match=r"deu\.jsonl is in deu by its name or folder, not in en"):
        read("webfaq", write_lines(tmp_path / "deu.jsonl", ROW), "en")


def test_row_groups_are_read_apart(tmp_path: Path) -> None:
    file = tmp_path / "deu.parquet"
    pq.write_table(pa.Table.from_pylist([{**ROW, "question": f"q{n}"} for n in range(5)]), file, row_group_size=2)
    assert len(PUBLIC["webfaq"].row_groups(str(file)) if PUBLIC["webfaq"].row_groups else ()) == 3
    (table,) = PUBLIC["webfaq"].read(FilePiece(str(file), first=1, stop=2), Layout("data"))
    assert columns(table, "row", "query") == [(2, "q2"), (3, "q3")]


@pytest.mark.parametrize("name", ["ara_deu.jsonl", "ara-deu.jsonl.gz"])
def test_bitexts_are_one_group_in_two_languages(name: str, tmp_path: Path) -> None:
    good = read("webfaq-bitexts", write_lines(tmp_path / name, BITEXT, {**BITEXT, "answer2": "b"})).good
    assert columns(good, *SIDES)[:2] == [("ar", "ar", "f", "s"), ("de", "de", "q", "a")]
    groups = good["group"].to_pylist()
    assert groups[0] == groups[1] != groups[2] == groups[3]
    told = {**BITEXT, "language1": "eng", "language2": "fra"}
    other = read("webfaq-bitexts", write_lines(tmp_path / "other.jsonl", told)).good
    assert other["query_lang"].to_pylist() == ["en", "fr"]
    assert other["group"].to_pylist()[0] == groups[0]  # which no file's name decides


def test_wrong_columns_are_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": ["q"], "reply": ["a"]}), tmp_path / "deu.parquet")
    with pytest.raises(UserError, match=r"deu\.parquet has no column answer; it has question, reply"):
        read("webfaq", tmp_path / "deu.parquet")
    with pytest.raises(UserError, match=r"pairs\.jsonl row 1 has no language1 and language2"):
        read("webfaq-bitexts", write_lines(tmp_path / "pairs.jsonl", BITEXT))
    with pytest.raises(UserError, match=r"ara_deu\.jsonl: its rows tell their languages; leave out the language de"):
        read("webfaq-bitexts", write_lines(tmp_path / "ara_deu.jsonl", BITEXT), "de")
