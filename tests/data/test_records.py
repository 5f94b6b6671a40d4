"""The check of every record, and the reading of the two parquet schemas."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import SOURCES
from hbt_ray.data.sources.layout import Layout


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("zh-TW", "zh-Hant"), ("zh-Hans", "zh"), ("sr-Latn", "sr-Latn"),
        ("de", "de"), ("eng", "en"), ("pt-BR", "pt"), ("zh-Hant", "zh-Hant"), ("en-Latn", "en"), ("cmn", "zh"),
        (" fr ", "fr"), ("iw", "he"), ("nan", None), ("nan-Hant", "nan-Hant"), ("mul", None),
        ("zz", None), ("english", None), ("", None), ("und", None),
    ],
)  # fmt: skip
def test_language_tags(given: str, kept: str | None) -> None:
    assert languages.normalize(given) == kept


def write(path: Path, **columns: object) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_pairs_with_bad_rows(tmp_path: Path) -> None:
    broken = pa.array([b"fine", b"\xff\xfe", b"fine", b"fine", b"fine", b"fine"]).view(pa.string())
    uri = write(
        tmp_path / "a.parquet",
        query=pa.array(["q", "q", " ", None, "q", "q"]),
        query_lang=pa.array(["eng", "de", "de", "de", "xx-nope", "de"]),
        passage=broken,
        passage_lang=pa.array(["en", "de", "de", "de", "de", "de"]),
        negatives=pa.array([["n"], [], None, [], [], ["n", ""]]),
    )
    (table,) = SOURCES["pairs"].read(FilePiece(uri), Layout("data"))
    checked = records.check_records(table, uri)
    assert checked.good["query_lang"].to_pylist() == ["en"]
    assert checked.good["negatives"].to_pylist() == [["n"]]
    assert checked.good["source"].to_pylist() == ["data"]
    assert checked.bad.select(["file", "row", "reason"]).to_pylist() == [
        {"file": uri, "row": 1, "reason": "passage is not UTF-8"},
        {"file": uri, "row": 2, "reason": "query is empty"},
        {"file": uri, "row": 3, "reason": "query is empty"},
        {"file": uri, "row": 4, "reason": "unknown language tag"},
        {"file": uri, "row": 5, "reason": "a negative is empty"},
    ]
    assert checked.bad["value"].to_pylist() == [None, None, None, "'xx-nope' in query_lang", None]
    assert checked.unknown_language == f"{uri} row 4: unknown language tag 'xx-nope' in query_lang"


def test_parallel_rows_have_one_language(tmp_path: Path) -> None:
    uri = write(tmp_path / "p.parquet", group=[7, 7], lang=["de", "fr"], query=["q", "r"], passage=["p", "s"])
    (table,) = SOURCES["parallel"].read(FilePiece(uri), Layout("data"))
    good = records.check_records(table, uri).good
    assert good["group"].to_pylist() == ["7", "7"]
    assert good["query_lang"].to_pylist() == good["passage_lang"].to_pylist() == ["de", "fr"]


def test_bad_files_are_named(tmp_path: Path) -> None:
    lacking = write(tmp_path / "lacking.parquet", query=["q"], passage=["p"], query_lang=["de"])
    with pytest.raises(
        UserError, match=r"lacking\.parquet has no column passage_lang; it has query, passage, query_lang"
    ):
        list(SOURCES["pairs"].read(FilePiece(lacking), Layout("data")))
    numbers = write(tmp_path / "n.parquet", query=[1], passage=["p"], query_lang=["de"], passage_lang=["de"])
    with pytest.raises(UserError, match=r"n\.parquet: column query is int64, not string"):
        list(SOURCES["pairs"].read(FilePiece(numbers), Layout("data")))
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(Path(lacking).read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cut\.parquet is not a whole parquet file"):
        list(SOURCES["pairs"].read(FilePiece(str(cut)), Layout("data")))
    with pytest.raises(UserError, match=r"no file .*absent\.parquet"):
        list(SOURCES["pairs"].read(FilePiece(str(tmp_path / "absent.parquet")), Layout("data")))


def test_what_other_writers_write(tmp_path: Path) -> None:
    uri = write(
        tmp_path / "a.parquet",
        query=pa.array(["q"], pa.large_string()),
        query_lang=pa.array(["de"]).dictionary_encode(),
        passage=pa.array([b"p"], pa.binary()),
        passage_lang=["de"],
        group=pa.nulls(1),
        negatives=pa.array([[]], pa.list_(pa.null())),
    )
    (table,) = SOURCES["pairs"].read(FilePiece(uri), Layout("data"))
    (good,) = records.check_records(table, uri).good.to_pylist()
    assert (good["query"], good["passage"], good["group"], good["negatives"]) == ("q", "p", None, [])
    uri = write(
        tmp_path / "b.parquet", query=["q"], query_lang=["de"], passage=["p"], passage_lang=["de"], negatives=[[1]]
    )
    with pytest.raises(UserError, match="column negatives is list<.*int64>, not list<string>"):
        list(SOURCES["pairs"].read(FilePiece(uri), Layout("data")))
