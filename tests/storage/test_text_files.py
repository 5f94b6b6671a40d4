"""Text files that are made to break a reader: memory is bounded by the longest line."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile import assert_clear

from hbt_ray import parsing
from hbt_ray.config import UserError
from hbt_ray.evaluation.run_file import RunRanker
from hbt_ray.storage import text_files, trec

LONGEST = 2**16


@pytest.fixture
def bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A good line, one of many times the longest, and a good one, in a small file; reading it takes little memory."""
    monkeypatch.setattr(text_files, "LONGEST_LINE", LONGEST)
    file = tmp_path / "a.csv.gz"
    with gzip.open(file, "wb", 1) as lines:
        lines.write(b'{"a": 1}\n{"a": "')
        for _ in range(100):
            lines.write(b"x" * LONGEST)
        lines.write(b'"}\n{"a": 2}\n')
    assert file.stat().st_size < LONGEST
    tracemalloc.start()
    yield str(file)
    assert tracemalloc.get_traced_memory()[1] < 10 * LONGEST
    tracemalloc.stop()


def test_a_line_too_long_is_a_bad_row_of_json_lines(bomb: str) -> None:
    assert list(text_files.json_lines(bomb)) == [(0, {"a": 1}), (1, None), (2, {"a": 2})]


@pytest.mark.parametrize("read", [text_files.read_lines, text_files.read_csv], ids=["lines", "table"])
def test_a_line_too_long_is_named(bomb: str, read: Callable[[str], Iterator[object]]) -> None:
    with pytest.raises(UserError, match=r"a\.csv\.gz line 2 is longer than 65,536 bytes"):
        list(read(bomb))


def test_a_quoted_value_without_end_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LONGEST_LINE", LONGEST)
    (tmp_path / "a.csv").write_bytes(b'a,b\n"' + b"xyz\n" * LONGEST)
    with pytest.raises(UserError, match=r"a\.csv line \d+: field larger than field limit"):
        list(text_files.read_csv(str(tmp_path / "a.csv")))


def test_a_json_file_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "JSON_BYTES", 1000)
    monkeypatch.setattr(parsing, "JSON_BYTES", 1000)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 2**24))
    with pytest.raises(UserError, match=r"a\.json\.gz has more than 1,000 bytes"):
        text_files.load_json(str(tmp_path / "a.json.gz"))


@pytest.mark.parametrize(
    "line", ["9" * 5000, '{"a": ' + "9" * 5000 + "}", "[" * 100_000, '{"a":' * 100_000, "null", "\ud800"]
)
def test_lines_that_are_no_json_are_bad_rows(tmp_path: Path, line: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(f"{json.dumps({'a': 1})}\n{line}\n".encode("utf-8", "surrogatepass"))
    assert list(text_files.json_lines(str(file))) == [(0, {"a": 1}), (1, None)]


VALUES = [b"", b"\0", b"\xff", b"nan", b"inf", b"1e400", b"9" * 5000, b"x" * 200_000, "\u2028".encode(), b"1.5", b"a b"]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.parametrize("place", range(6))
def test_lines_of_runs_and_judgements_are_taken_or_named(tmp_path: Path, value: bytes, place: int) -> None:
    file = tmp_path / "file"
    for good, read in (
        ([b"q", b"Q0", b"de:1", b"1", b"0.5", b"t"], RunRanker),
        ([b"q", b"0", b"de:1", b"1"], lambda uri: list(trec.read_qrels(uri))),
        ([b"q", b"de:1", b"1"], lambda uri: list(trec.read_pairs(uri))),
        ([b"q", b"de:1", b"1"], lambda uri: list(trec.read_judgements(uri))),
        ([b"q", b"text"], lambda uri: list(trec.read_topics(uri))),
    ):
        bad = [value if number == place % len(good) else field for number, field in enumerate(good)]
        file.write_bytes(b"\t".join(good) + b"\n" + b"\t".join(bad) + b"\n")
        try:
            read(str(file))
        except UserError as error:
            assert_clear(error)
            assert f"{file} line 2" in str(error)
