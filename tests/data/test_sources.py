"""Loaders against the published counts of real data."""

from __future__ import annotations

import gzip
import json
import lzma
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import SOURCES
from hbt_ray.data.sources.layout import Layout
from hbt_ray.storage import text_files

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not at {DATA}")


def languages(source: str, path: Path) -> Counter[tuple[str, str]]:
    """(query language, passage language) of every record that passes the check."""
    found: Counter[tuple[str, str]] = Counter()
    for table in SOURCES[source].read(FilePiece(str(path)), Layout("data")):
        checked = records.check_records(table, str(path))
        assert checked.bad.num_rows == 0
        good = checked.good
        found.update(zip(good["query_lang"].to_pylist(), good["passage_lang"].to_pylist(), strict=True))
    return found


@needs_data
def test_squad_family() -> None:
    evaluation = DATA / "eval"
    assert languages("squad", evaluation / "xquad" / "xquad.ro.json.xz") == {("ro", "ro"): 1190}
    dev = evaluation / "mlqa_dev"
    assert languages("squad", dev / "dev-context-de-question-de.json.xz") == {("de", "de"): 512}
    assert set(languages("squad", dev / "dev-context-ar-question-vi.json.xz")) == {("vi", "ar")}
    for language, count in {"ar": 921, "fi": 782, "te": 669}.items():
        found = languages("squad", evaluation / "tydiqa_goldp_dev" / f"{language}.json.xz")
        assert found == {(language, language): count}


@needs_data
def test_lareqa_as_training_pairs() -> None:
    assert languages("lareqa", DATA / "eval" / "xquad_r" / "th.json.xz") == {("th", "th"): 1190}


@needs_data
def test_passages_with_questions() -> None:
    assert languages("jsonl", DATA / "train_mono" / "arcd.jsonl.xz") == {("ar", "ar"): 1395}
    assert languages("jsonl", DATA / "train_mono" / "drcd.jsonl.xz") == {("zh-Hant", "zh-Hant"): 7017}
    afriqa = languages("jsonl", DATA / "train_cross" / "afriqa.jsonl.xz")
    assert sum(afriqa.values()) == 6964
    assert afriqa["fon", "fr"] == 938
    assert afriqa["zu", "en"] == 806


@needs_data
def test_translations_are_bitext() -> None:
    path = DATA / "parallel" / "mintaka_dev_questions.jsonl.xz"
    tables = list(SOURCES["jsonl"].read(FilePiece(str(path)), Layout("data")))
    assert all(all(table["bitext"].to_pylist()) for table in tables)
    assert len({group for table in tables for group in table["group"].to_pylist()}) == 2000
    assert len(languages("jsonl", path)) == 9


SQUAD = {"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "telugu-1", "question": "q", "answers": []}]}]}]}


def test_squad_language_from_name_setting_or_id(tmp_path: Path) -> None:
    named = tmp_path / "de.json.gz"
    named.write_bytes(gzip.compress(json.dumps(SQUAD).encode()))
    assert languages("squad", named) == {("de", "de"): 1}
    unnamed = tmp_path / "tydiqa-goldp.json"
    unnamed.write_text(json.dumps(SQUAD))
    assert languages("squad", unnamed) == {("te", "te"): 1}
    unnamed.write_text(json.dumps(SQUAD).replace("telugu-1", "57a1"))
    with pytest.raises(UserError, match="give --language"):
        list(SOURCES["squad"].read(FilePiece(str(unnamed)), Layout("data")))
    (table,) = SOURCES["squad"].read(FilePiece(str(unnamed)), Layout("data", "fi", "fi"))
    assert table["query_lang"].to_pylist() == ["fi"]


def test_broken_text_files_are_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl.xz"
    cut.write_bytes(lzma.compress(b'{"id": "1", "t": {}}\n' * 100)[:-40])
    with pytest.raises(UserError, match=r"cut\.jsonl\.xz is truncated"):
        list(SOURCES["jsonl"].read(FilePiece(str(cut)), Layout("data")))
    (tmp_path / "de.json").write_text('{"data": [{}]}')
    with pytest.raises(UserError, match=r"de\.json is not SQuAD JSON"):
        list(SOURCES["squad"].read(FilePiece(str(tmp_path / "de.json")), Layout("data")))


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_lines_are_read_as_they_are_asked_for(ending: str, tmp_path: Path) -> None:
    line = json.dumps({"id": 1, "t": {"de": "a " * 2**18, "en": "b"}}).encode() + b"\n"
    openers: dict[str, Callable[..., Any]] = {"": open, ".gz": gzip.open, ".xz": lzma.open}
    with openers[ending](tmp_path / f"a.jsonl{ending}", "wb") as file:
        for _ in range(100):
            file.write(line)
    tracemalloc.start()
    count = sum(1 for _ in text_files.json_lines(str(tmp_path / f"a.jsonl{ending}")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 100
    assert peak < 30 * len(line)  # of 100; unpacking .xz takes 8 MiB


def test_batches_are_bounded(tmp_path: Path) -> None:
    rows = records.BATCH_ROWS + 1
    questions = [{"id": n, "question": "q", "answers": []} for n in range(rows)]
    squad = {"data": [{"paragraphs": [{"context": "c", "qas": questions}]}]}
    (tmp_path / "de.json").write_text(json.dumps(squad))
    (tmp_path / "de.jsonl").write_text('{"id": 1, "t": {"de": "a"}}\n' * rows)
    for source, name in (("squad", "de.json"), ("jsonl", "de.jsonl")):
        tables = list(SOURCES[source].read(FilePiece(str(tmp_path / name)), Layout("data")))
        assert [table.num_rows for table in tables] == [records.BATCH_ROWS, 1]
        assert [row for table in tables for row in table["row"].to_pylist()] == list(range(rows))


def test_a_bad_line_is_a_bad_row_and_the_rest_is_kept(tmp_path: Path) -> None:
    odd = tmp_path / "odd.jsonl"
    lines = ['{"id": 1, "t": {"de": "a", "en": "b"}}', "not json", '{"something": "else"}']
    lines += ['{"id": 2, "t": {"de": 5, "en": "\\ud800"}}', '{"id": 3, "t": {"de": "c", "en": "d"}}']
    odd.write_text("\n".join(lines))
    checked = records.check_records(*[next(SOURCES["jsonl"].read(FilePiece(str(odd)), Layout("data"))), str(odd)])
    assert checked.good["query"].to_pylist() == ["a", "b", "c", "d"]
    assert checked.good["group"].to_pylist() == ["1", "1", "3", "3"]
    reasons = ["no JSON object", "not of this format", "query is no text", "query is not UTF-8"]
    assert list(zip(checked.bad["row"].to_pylist(), checked.bad["reason"].to_pylist(), strict=True)) == list(
        zip((1, 2, 3, 3), reasons, strict=True)
    )
    assert checked.bad["value"][1].as_py().startswith("keys something; expected p_lang, passage, qas, or id, t")
    assert checked.unknown_language is None


@pytest.mark.parametrize("name", ["train", "dev", "val", "all", "test", "dev-v2"])
def test_a_split_is_no_language(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.json").write_text(json.dumps(SQUAD).replace("telugu-1", "57a1"))
    with pytest.raises(UserError, match=f"{name}.json: its name does not tell the language; give --language"):
        list(SOURCES["squad"].read(FilePiece(f"{tmp_path}/{name}.json"), Layout("data")))


def test_a_language_that_the_format_tells_is_not_overruled(tmp_path: Path) -> None:
    (tmp_path / "de.json").write_text(json.dumps(SQUAD).replace("telugu-1", "57a1"))
    named = FilePiece(f"{tmp_path}/de.json")
    with pytest.raises(UserError, match=r"de\.json is in de, as its name or folder says, and the settings say fr"):
        list(SOURCES["squad"].read(named, Layout("data", "fr", "fr")))
    (table,) = SOURCES["squad"].read(named, Layout("data", "deu", "deu"))
    assert records.check_records(table, "").good["query_lang"].to_pylist() == ["de"]
    with pytest.raises(UserError, match=r"question 0: its id says te, not fi"):
        (tmp_path / "goldp.json").write_text(json.dumps(SQUAD))
        list(SOURCES["squad"].read(FilePiece(f"{tmp_path}/goldp.json"), Layout("data", "fi", "fi")))
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"id": 1, "t": {"de": "a", "en": "b"}}\n')
    with pytest.raises(UserError, match="its lines tell their languages, so es cannot be that of all"):
        list(SOURCES["jsonl"].read(FilePiece(str(lines)), Layout("data", "es", "es")))
