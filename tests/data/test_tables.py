"""*pairs*, *parallel* and *bitext* in every kind of table, with other names of columns and languages from elsewhere."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import SOURCES
from hbt_ray.data.sources.layout import Layout

Columns = dict[str, list[Any]]
PAIRS: Columns = {
    "query": ["Wo?", 'où, "là"?\nici'], "query_lang": ["de", "fr"],
    "passage": ["da", "là"], "passage_lang": ["de", "fr"],
}  # fmt: skip


def parquet(path: Path, columns: Columns) -> None:
    pq.write_table(pa.table(columns), path)


def arrow(path: Path, columns: Columns) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.table(columns).schema) as writer:
        writer.write_table(pa.table(columns))  # the stream format, as the `datasets` library writes


def feather(path: Path, columns: Columns) -> None:
    pyarrow.feather.write_feather(pa.table(columns), path)


def jsonl(path: Path, columns: Columns) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    pack: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".xz": lzma.compress,
        ".zst": lambda raw: pa.Codec("zstd").compress(raw, asbytes=True),
    }
    path.write_bytes(pack.get(path.suffix, bytes)(data))


def comma(path: Path, columns: Columns) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])


WRITERS: dict[str, Callable[[Path, Columns], None]] = {
    "a.parquet": parquet, "a.arrow": arrow, "a.feather": feather, "a.csv": comma,
    "a.jsonl": jsonl, "a.jsonl.gz": jsonl, "a.jsonl.xz": jsonl, "a.jsonl.zst": jsonl,
}  # fmt: skip
FEW = ["a.parquet", "a.jsonl", "a.csv"]


def read(path: Path, source: str, layout: Layout | None = None, **constants: str) -> records.Checked:
    piece = FilePiece(str(path), constants=tuple(constants.items()))
    table = pa.concat_tables(SOURCES[source].read(piece, layout or Layout("data")))
    return records.check_records(table, str(path))


def test_batches_hold_what_values_take_and_not_their_codes(tmp_path: Path) -> None:
    texts = [f"{'x' * 50_000} {number % 3}" for number in range(3000)]  # three texts in the file
    pq.write_table(pa.table({"anchor": texts, "positive": ["p"] * 3000}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1e6
    tables = SOURCES["pairs"].read(FilePiece(str(tmp_path / "a.parquet")), Layout("data", "en", "en"))
    rows = [table["row"].to_pylist() for table in tables]
    assert [row for some in rows for row in some] == list(range(3000))
    assert len(rows) == 3  # of 1,024 rows, which take 51 MB


def good(path: Path, source: str, layout: Layout | None = None, **constants: str) -> list[dict[str, Any]]:
    checked = read(path, source, layout, **constants)
    assert checked.bad.num_rows == 0, checked.bad.to_pylist()
    return checked.good.to_pylist()


@pytest.mark.parametrize("name", WRITERS)
def test_pairs_in_any_kind_of_file(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, {**PAIRS, "group": ["", ""]})  # which is none
    rows = good(tmp_path / name, "pairs")
    assert {column: [row[column] for row in rows] for column in PAIRS} == PAIRS
    assert [(row["row"], row["source"], row["group"], row["negatives"]) for row in rows] == [
        (0, "data", None, []), (1, "data", None, [])
    ]  # fmt: skip


@pytest.mark.parametrize("name", FEW)
def test_columns_as_sentence_transformers_call_them(tmp_path: Path, name: str) -> None:
    columns = {
        "anchor": ["a", "b"],
        "positive": ["p", "q"],
        **{f"negative_{n}": [f"n{n}", f"m{n}"] for n in (10, 2, 1)},
    }
    WRITERS[name](tmp_path / name, columns)
    rows = good(tmp_path / name, "pairs", Layout("data", "de", "en"))
    assert [(row["query"], row["passage"]) for row in rows] == [("a", "p"), ("b", "q")]
    assert rows[0]["negatives"] == ["n1", "n2", "n10"]  # in numeric order
    assert {(row["query_lang"], row["passage_lang"]) for row in rows} == {("de", "en")}


@pytest.mark.parametrize("name", FEW)
def test_columns_that_are_named(tmp_path: Path, name: str) -> None:
    columns = {"q": ["a", "b"], "doc": ["p", "q"], "bad_1": ["x", ""], "bad_2": ["y", "z"], "sprache": ["de", "fr"]}
    WRITERS[name](tmp_path / name, columns)
    named = {"query": "q", "passage": "doc", "negatives": "bad_*", "query_lang": "sprache", "passage_lang": "sprache"}
    rows = good(tmp_path / name, "pairs", Layout("data", columns=named))
    assert [(row["query"], row["negatives"], row["query_lang"]) for row in rows] == [
        ("a", ["x", "y"], "de"), ("b", ["z"], "fr")
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"a\..* has no column dock, which --columns passage=dock names; it has q, doc"):
        read(tmp_path / name, "pairs", Layout("data", columns={**named, "passage": "dock"}))
    with pytest.raises(UserError, match=r"--columns querry=…: pairs have no column of that name"):
        read(tmp_path / name, "pairs", Layout("data", columns={"querry": "q"}))


@pytest.mark.parametrize("name", FEW)
def test_languages_of_rows_folders_and_settings(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, {"query": ["a", "b"], "passage": ["c", "d"]})
    assert {row["query_lang"] for row in good(path, "pairs", lang="deu")} == {"de"}  # lang=deu/
    assert {row["query_lang"] for row in good(path, "pairs", Layout("data", "de", "de"), lang="deu")} == {"de"}
    with pytest.raises(UserError, match=r"its folder says lang=deu, and the settings say en"):
        read(path, "pairs", Layout("data", "en", "en"), lang="deu")
    with pytest.raises(UserError, match=r"has no column query_lang, passage_lang; it has .*--language"):
        read(path, "pairs")
    WRITERS[name](path, {**PAIRS, "query": ["a", "b"]})
    with pytest.raises(UserError, match=r"row 1: column query_lang says fr, where the settings or the folder say de"):
        read(path, "pairs", Layout("data", "de", "de"))
    WRITERS[name](path, {"query": ["a", "b"], "passage": ["c", "d"], "lang": ["ger", "de"]})
    assert {row["passage_lang"] for row in good(path, "pairs", Layout("data", "de", "de"))} == {"de"}
    WRITERS[name](path, {"query": ["a", "b"], "passage": ["c", "d"], "lang": ["nan", "None"]})
    assert read(path, "pairs").bad["value"].to_pylist() == ["'nan' in query_lang", "'None' in query_lang"]


@pytest.mark.parametrize("name", FEW)
def test_bitext_a_language_a_row_or_a_column(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, {"group": ["1", "1"], "lang": ["de", "en"], "text": ["Haus", "house"]})
    rows = good(path, "bitext")
    assert [(row["query"], row["passage"], row["query_lang"], row["bitext"], row["group"]) for row in rows] == [
        ("Haus", "Haus", "de", True, "1"), ("house", "house", "en", True, "1")
    ]  # fmt: skip
    WRITERS[name](path, {"german": ["Haus", "Baum"], "english": ["house", "tree"]})
    layout = Layout("data", columns={"text.de": "german", "text.en": "english"})
    rows = sorted(good(path, "bitext", layout), key=lambda row: (row["row"], row["query_lang"]))
    assert [(row["row"], row["query"], row["query_lang"]) for row in rows] == [
        (0, "Haus", "de"), (0, "house", "en"), (1, "Baum", "de"), (1, "tree", "en")
    ]  # fmt: skip
    assert rows[0]["group"] == rows[1]["group"] != rows[2]["group"] == rows[3]["group"]  # it says what is translated


@pytest.mark.parametrize("name", FEW)
def test_parallel_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, {"group": ["7"], "lang": ["de"], "query": ["q"], "passage": ["p"], "source": ["faq"]})
    (row,) = good(path, "parallel")
    assert (row["group"], row["query_lang"], row["passage_lang"], row["source"]) == ("7", "de", "de", "faq")
    with pytest.raises(UserError, match="a row of parallel is in one language"):
        read(path, "parallel", Layout("data", "de", "en"))


@pytest.mark.parametrize("name", FEW)
def test_a_score_of_likeness_is_no_pair(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, {"sentence1": ["a"], "sentence2": ["b"], "score": ["0.1"]})
    with pytest.raises(UserError, match="column score says how much alike .* not every row is a pair"):
        read(path, "pairs", Layout("data", "de", "de"))
    named = {"query": "sentence1", "passage": "sentence2"}
    assert len(good(path, "pairs", Layout("data", "de", "de", named))) == 1
    WRITERS[name](path, {"question": ["a"], "anchor": ["b"], "answer": ["c"]})
    with pytest.raises(UserError, match="anchor and question could both be the query: say which"):
        read(path, "pairs", Layout("data", "de", "de"))


def test_lists_as_arrow_has_them(tmp_path: Path) -> None:
    one = {name: values[:1] for name, values in PAIRS.items()}
    for number, kind in enumerate(
        [pa.list_(pa.string(), 2), pa.large_list(pa.large_string()), pa.list_view(pa.string()), pa.list_(pa.string())]
    ):
        path = tmp_path / f"{number}.parquet"
        negatives = pa.array([["x", "y"]], kind)
        columns = {**one, "negatives": negatives, "scores": pa.array([[0.9, 0.5, 0.25]], pa.list_(pa.float64()))}
        writer = arrow if pa.types.is_list_view(kind) else parquet
        path = path.with_suffix(".arrow") if writer is arrow else path
        writer(path, columns)
        (row,) = good(path, "pairs")
        assert row["negatives"] == ["x", "y"]
        assert row["scores"] == pytest.approx([0.9, 0.5, 0.25])
    parquet(tmp_path / "mined.parquet", {**one, "negatives": [["x"]], "score": [0.9], "negative_scores": [[0.5]]})
    assert good(tmp_path / "mined.parquet", "pairs")[0]["scores"] == pytest.approx([0.9, 0.5])
    parquet(tmp_path / "wrong.parquet", {**one, "negatives": [["x"]], "scores": [[0.9]]})
    assert read(tmp_path / "wrong.parquet", "pairs").bad["reason"].to_pylist() == ["scores do not fit the negatives"]
    for number, odd in enumerate([float("nan"), float("inf"), None, 1e39]):
        parquet(tmp_path / f"{number}.parquet", {**one, "negatives": [["x"]], "scores": [[0.9, odd]]})
        assert read(tmp_path / f"{number}.parquet", "pairs").bad["reason"].to_pylist() == [
            "a score is no finite number"
        ]


@pytest.mark.parametrize(("group", "kind"), [([1.0], "double"), ([True], "bool")])
def test_ids_that_may_be_rounded(tmp_path: Path, group: list[Any], kind: str) -> None:
    columns = {"group": group, "lang": ["de"], "query": ["q"], "passage": ["p"]}
    parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(UserError, match=f"column group is {kind}, not string"):
        read(tmp_path / "a.parquet", "parallel")
    jsonl(tmp_path / "a.jsonl", columns)
    assert read(tmp_path / "a.jsonl", "parallel").bad["reason"].to_pylist() == ["group is no text"]
    jsonl(tmp_path / "a.jsonl", {**columns, "group": [1]})
    assert good(tmp_path / "a.jsonl", "parallel")[0]["group"] == "1"


def test_values_separated_by_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('query\tpassage\n"Wo?\tda\r\nzu\tviele\tWerte\nwer?\tich\n', encoding="utf-8")
    checked = read(path, "pairs", Layout("data", "de", "de"))
    assert list(zip(checked.good["row"].to_pylist(), checked.good["query"].to_pylist(), strict=True)) == [
        (0, '"Wo?'), (2, "wer?")
    ]  # fmt: skip
    assert checked.bad.select(["row", "reason", "value"]).to_pylist() == [
        {"row": 1, "reason": "wrong number of columns", "value": "3, not 2"}
    ]
    path.write_text("Wo?\tda\nwer?\tich\n", encoding="utf-8")
    numbered = Layout("data", "de", "de", {"query": "1", "passage": "2"})  # a file without a line of names
    assert [(row["row"], row["query"]) for row in good(path, "pairs", numbered)] == [(0, "Wo?"), (1, "wer?")]
    path.write_bytes(b"query\tpassage\nq\xff\tp\n")
    assert read(path, "pairs", Layout("data", "de", "de")).bad["reason"].to_pylist() == ["query is not UTF-8"]


def test_a_line_of_another_form_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"query": "q", "passage": "p"}\n{"query": "q", "text": "p"}\nno json\n\n{"query": 5, "passage": "p"}\n'
    )
    bad = read(path, "pairs", Layout("data", "de", "de")).bad.to_pylist()
    assert [(row["row"], row["reason"]) for row in bad] == [
        (1, "not of this format"), (2, "no JSON object"), (4, "query is no text")
    ]  # fmt: skip
    assert bad[0]["value"].startswith("has no column passage; it has query, text")
    assert bad[2]["value"] == "5"
    path.write_text('{"a": 1}\n')
    with pytest.raises(UserError, match=r"a\.jsonl line 1 has no column query, passage; it has a: name another"):
        read(path, "pairs", Layout("data", "de", "de"))
    with pytest.raises(UserError, match=r"zst is truncated or not compressed"):
        (tmp_path / "b.jsonl.zst").write_bytes(b"not compressed")
        read(tmp_path / "b.jsonl.zst", "pairs")
