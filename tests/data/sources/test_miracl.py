"""MIRACL as the hub has it, in two data sets side by side, and with its folders in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError


def build(corpus: Path, topics: Path, language: str) -> Path:
    """A corpus of two files and the topics and judgements of one split; the corpus's second file."""
    folder = corpus / f"miracl-corpus-v1.0-{language}"
    write_lines(folder / "docs-0.jsonl.gz", {"docid": "1#0", "title": "Albedo", "text": "one"})
    name = f"miracl-v1.0-{language}"
    write_lines(topics / name / f"topics/topics.{name}-train.tsv", "0\tq", "3\tr")
    write_lines(topics / name / f"qrels/qrels.{name}-train.tsv", "0\tQ0\t1#0\t1", "0\tQ0\t2#1\t1", "3\tQ0\t2#1\t0")
    return write_lines(
        folder / "docs-1.jsonl.gz",
        {"docid": "2#0", "title": "Other", "text": "two"},
        {"docid": "2#1", "title": "Other", "text": "three"},
    )


@pytest.mark.parametrize("places", [(".", "."), ("miracl-corpus", "miracl")])
def test_topics_beside_the_corpus_or_in_their_own_data_set(places: tuple[str, str], tmp_path: Path) -> None:
    second = build(tmp_path / places[0], tmp_path / places[1], "fi")
    record = ("row", "group", "query_lang", "passage_lang", "query", "passage")
    assert columns(read("miracl", second).good, *record) == [(1, "fi-0", "fi", "fi", "q", "Other three")]
    first = second.with_name("docs-0.jsonl.gz")
    assert columns(read("miracl", first).good, *record) == [(0, "fi-0", "fi", "fi", "q", "Albedo one")]


def test_ids_of_two_languages_mean_other_queries(tmp_path: Path) -> None:
    for language in ("fi", "sw"):
        corpus = build(tmp_path, tmp_path, language)
        assert read("miracl", corpus).good["group"].to_pylist() == [f"{language}-0"]


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    corpus = build(tmp_path, tmp_path, "de")
    with pytest.raises(UserError, match=r"docs-1\.jsonl\.gz: no queries at .*topics\.miracl-v1\.0-de-dev\.tsv"):
        read("miracl", corpus, split="dev")
    write_lines(corpus, {"docid": "1", "text": "t"}, {"docid": "2"})
    with pytest.raises(UserError, match=r"docs-1\.jsonl\.gz line 2 is no passage: it needs docid and text"):
        read("miracl", corpus)
    write_lines(tmp_path / "miracl-v1.0-de/qrels/qrels.miracl-v1.0-de-train.tsv", "0\tQ0\t1#0\tyes")
    with pytest.raises(UserError, match=r"qrels\.miracl-v1\.0-de-train\.tsv line 1: the grade is 'yes'"):
        read("miracl", corpus)
    with pytest.raises(UserError, match=r"lies in no folder such as miracl-corpus-v1\.0-de"):
        read("miracl", write_lines(tmp_path / "docs-0.jsonl.gz", {}))
