"""MS MARCO and mMARCO in the folders they are published in."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError
from hbt_ray.data.sources.public import PUBLIC

RECORD = ("row", "group", "query_lang", "passage_lang", "query", "passage")


@pytest.fixture
def mmarco(tmp_path: Path) -> Path:
    """`data/` of unicamp-dl/mmarco, with two languages."""
    data = tmp_path / "data"
    write_lines(data / "triples.train.ids.small.tsv", "11\t0\t2", "11\t0\t1", "12\t2\t1", "12\t0\t1")
    write_lines(data / "qrels.dev.tsv", "99\t0\t1\t1")
    for name, word in {"german": "wort", "english": "word"}.items():
        google = data / "google"
        write_lines(google / "collections" / f"{name}_collection.tsv", *(f"{n}\t{word} {n}" for n in range(3)))
        write_lines(google / "queries/train" / f"{name}_queries.train.tsv", f"11\t{word} q", f"12\t{word} r", "13\tx")
        write_lines(google / "queries/dev" / f"{name}_queries.dev.tsv", f"99\t{word} d")
    return data


def test_mmarco_joins_triples_and_its_languages_meet(mmarco: Path) -> None:
    collections = mmarco / "google" / "collections"
    german = columns(read("msmarco", collections / "german_collection.tsv").good, *RECORD)
    assert german == [
        (0, "11", "de", "de", "wort q", "wort 0"),
        (0, "12", "de", "de", "wort r", "wort 0"),
        (2, "12", "de", "de", "wort r", "wort 2"),
    ]
    english = columns(read("msmarco", collections / "english_collection.tsv").good, *RECORD)
    assert [row[:2] for row in english] == [row[:2] for row in german]
    assert english[0][2:] == ("en", "en", "word q", "word 0")


def test_another_split(mmarco: Path) -> None:
    good = read("msmarco", mmarco / "google" / "collections" / "german_collection.tsv", split="dev").good
    assert columns(good, *RECORD) == [(1, "99", "de", "de", "wort d", "wort 1")]


def test_msmarco_in_one_folder(tmp_path: Path) -> None:
    collection = write_lines(tmp_path / "collection.tsv", "0\tfirst", "1\tsecond")
    write_lines(tmp_path / "queries.train.tsv", "5\tq", "6\t")
    write_lines(tmp_path / "qrels.train.tsv", "5\t0\t1\t1", "5\t0\t0\t0", "6\t0\t0\t1")
    found = read("msmarco", collection)
    assert columns(found.good, *RECORD) == [(1, "5", "en", "en", "q", "second")]
    assert columns(found.bad, "row", "reason") == [(0, "query is empty")]


def test_files_that_are_named(tmp_path: Path) -> None:
    collection = write_lines(tmp_path / "a" / "collection.tsv", "0\tfirst")
    named = {"queries": str(write_lines(tmp_path / "q.tsv", "5\tq")), "qrels": str(tmp_path / "pairs.tsv")}
    write_lines(tmp_path / "pairs.tsv", "5 0 0 1")
    assert columns(read("msmarco", collection, columns=named).good, "query", "passage") == [("q", "first")]
    with pytest.raises(UserError, match=r"--columns qrels=pairs\.tsv: say an absolute path or a URI"):
        read("msmarco", collection, columns={**named, "qrels": "pairs.tsv"})


def test_only_collections_of_a_folder_are_inputs(mmarco: Path) -> None:
    found = [file.name for file in mmarco.rglob("*") if str(file).endswith(PUBLIC["msmarco"].suffixes)]
    assert sorted(found) == ["english_collection.tsv", "german_collection.tsv"]


def test_what_is_wrong_is_one_line(mmarco: Path) -> None:
    collection = mmarco / "google" / "collections" / "german_collection.tsv"
    with pytest.raises(UserError, match=r"is in de by its name or folder, not in fr"):
        read("msmarco", collection, "fr")
    with pytest.raises(UserError, match=r"german_collection\.tsv: no queries at .*german_queries\.test\.tsv"):
        read("msmarco", collection, split="test")
    write_lines(collection, "0\tgut", "1 ohne Tab")
    with pytest.raises(UserError, match=r"german_collection\.tsv line 2 is '1 ohne Tab', not an id, a tab and a text"):
        read("msmarco", collection)
    write_lines(mmarco / "triples.train.ids.small.tsv", "11\t0\t2", "11\t0")
    with pytest.raises(UserError, match=r"small\.tsv line 2 is .*, neither a judgement nor a triple of ids"):
        read("msmarco", collection)


def test_triples_of_texts(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "triples.train.small.tsv", "q\tp\tn", "q\tp")
    found = read("msmarco-triples", file)
    assert columns(found.good, "query", "passage", "negatives", "query_lang") == [("q", "p", ["n"], "en")]
    assert columns(found.bad, "row", "reason") == [(1, "wrong number of columns")]
    with pytest.raises(UserError, match=r"small\.tsv line 1 has 2 fields, not query, passage and negative"):
        read("msmarco-triples", write_lines(file, "1\ttext"))
