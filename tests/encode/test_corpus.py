"""Corpora: their formats, the checks they pass and the fixed parts they are cut into."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.encode import corpus, parquet_documents, plan, texts
from hbt_ray.encode.documents import hash_documents, part_name

TEXTS = {"id": ["1", "2", "1", "3", "2", "4"], "lang": ["de", "de", "en", "de", "en", "de"], "text": list("abcdef")}
BEIR: list[dict[str, Any]] = [
    {"_id": f"d{n}", "title": "Titel" if n % 2 else "", "text": f"Text {n}", "metadata": {}} for n in range(7)
]
MIRACL = [{"docid": f"{n}#0", "title": "หัวข้อ", "text": f"ข้อความ {n}\u2028x"} for n in range(5)]


def write(folder: Path, **columns: object) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "corpus.parquet", row_group_size=4)
    return str(folder)


def lines(uri: str, rows: Sequence[Mapping[str, object]]) -> None:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    storage.write_bytes(uri, gzip.compress(data) if uri.endswith(".gz") else data)


def documents(found: corpus.Corpus) -> dict[str, str]:
    """Id to text of all parts, read in the groups in which they are encoded."""
    read = [
        (part, texts)
        for group in corpus.groups(found.parts)
        for part, texts in zip(group, corpus.read_texts(group), strict=True)
    ]
    assert all(len(texts.ids) == part.rows for part, texts in read)
    pairs = [pair for _, texts in read for pair in zip(texts.ids, texts.texts, strict=True)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize("part_rows", [1, 3, 7, 100])
def test_beir_folder(tmp_path: Path, ending: str, part_rows: int) -> None:
    lines(f"{tmp_path}/corpus{ending}", BEIR)
    lines(f"{tmp_path}/queries{ending}", [{"_id": "q", "text": "?"}])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    found = corpus.scan_corpus(str(tmp_path), part_rows, "en")
    assert max(part.rows for part in found.parts) <= part_rows
    assert documents(found) == {
        f"en:d{n}": f"Titel Text {n}" if n % 2 else f"Text {n}" for n in range(7)
    }  # and no query
    assert documents(corpus.scan_corpus(f"{tmp_path}/queries{ending}", 9, "en")) == {"en:q": "?"}
    # what an interrupted run left of a file is read without the rest
    some = found.parts[1::2]
    left = [key for group in corpus.groups(some) for texts in corpus.read_texts(group) for key in texts.ids]
    assert len(left) == sum(part.rows for part in some)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("where", ["local", "s3"])
def test_miracl_folders(tmp_path: Path, s3: str, where: str) -> None:
    root = str(tmp_path) if where == "local" else storage.join(s3, "miracl")
    lines(f"{root}/miracl-corpus-v1.0-th/docs-0.jsonl.gz", MIRACL[:3])
    lines(f"{root}/miracl-corpus-v1.0-th/docs-1.jsonl.gz", MIRACL[3:])
    lines(f"{root}/miracl-corpus-v1.0-yo/docs-0.jsonl", MIRACL)
    found = corpus.scan_corpus(root, 2)
    assert found.rows_by_language == {"th": 5, "yo": 5}
    assert documents(found) == {
        f"{language}:{row['docid']}": f"{row['title']} {row['text']}" for language in ("th", "yo") for row in MIRACL
    }
    assert found == corpus.scan_corpus(root, 2)


@pytest.mark.parametrize(
    ("file", "language"),
    [
        ("mrtydi-v1.1-bengali/corpus.jsonl.gz", "bn"),
        ("data/zho-00000-of-00001.jsonl.gz", "zh"),
        ("google/collections/dutch_collection.tsv", "nl"),
    ],
)
def test_files_on_the_hub_tell_their_language(tmp_path: Path, file: str, language: str) -> None:
    rows = [("7", "Eins zwei"), ("11", "drei")]
    if file.endswith(".tsv"):
        storage.write_bytes(f"{tmp_path}/{file}", "".join(f"{key}\t{text}\n" for key, text in rows).encode())
    else:
        lines(f"{tmp_path}/{file}", [{"id": key, "title": "", "text": text} for key, text in rows])
    assert documents(corpus.scan_corpus(str(tmp_path), 1)) == {f"{language}:{key}": text for key, text in rows}


def test_a_collection_with_a_bad_line(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_text("1\ta\n2 b\n")
    with pytest.raises(UserError, match="collection.tsv row 1 is no id, tab and text"):
        corpus.scan_corpus(str(tmp_path), 2, "en")


@pytest.mark.usefixtures("ray_cluster")
def test_documents_that_are_not_in_a_corpus(tmp_path: Path) -> None:
    lines(f"{tmp_path}/miracl-corpus-v1.0-th/docs-0.jsonl.gz", MIRACL)
    lines(f"{tmp_path}/miracl-corpus-v1.0-yo/docs-0.jsonl", MIRACL[:1])
    there = {f"th:{MIRACL[-1]['docid']}", f"yo:{MIRACL[0]['docid']}"}
    gone = {f"yo:{MIRACL[-1]['docid']}", "sw:1", "th:nothing"}
    assert corpus.absent(str(tmp_path), there | gone) == gone


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"_id": "1", "text": "a"}\n{"text": "b"}\n', "corpus.jsonl row 1 has no _id or docid"),
        (b'{"_id": 1, "text": "a"}\n', "corpus.jsonl row 0 has no _id or docid"),
        (b'{"_id": "1", "text": "a"}\n[1]\n', "corpus.jsonl row 1 is no JSON object"),
        (b'{"_id": "1", "te', "corpus.jsonl row 0 is no JSON object"),
        (b"", "the corpus .* is empty"),
        (
            b'{"_id": "1", "text": "a"}\n{"_id": "2", "text": "a"}\n{"_id": "1", "text": "b"}\n',
            "document en:1 occurs twice: .*corpus.jsonl row 0 and .*corpus.jsonl row 2$",
        ),
    ],
)
def test_bad_lines(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(data)
    with pytest.raises(UserError, match=message):
        corpus.scan_corpus(str(tmp_path), 2, "en")


def test_lines_that_cannot_be_encoded(tmp_path: Path) -> None:
    lines(f"{tmp_path}/corpus.jsonl", BEIR)
    with pytest.raises(UserError, match=r"corpus.jsonl does not tell its language: name it with --language"):
        corpus.scan_corpus(str(tmp_path), 2)
    whole = gzip.compress((tmp_path / "corpus.jsonl").read_bytes())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut.jsonl.gz is truncated"):
        corpus.scan_corpus(f"{tmp_path}/cut.jsonl.gz", 2, "en")
    found = corpus.scan_corpus(f"{tmp_path}/corpus.jsonl", 4, "en")
    lines(f"{tmp_path}/corpus.jsonl", [{**row, "text": None} for row in BEIR])
    with pytest.raises(UserError, match="corpus.jsonl changed while it was being encoded"):
        documents(found)
    with pytest.raises(UserError, match="corpus.jsonl: document en:d0 has no text"):
        documents(corpus.scan_corpus(f"{tmp_path}/corpus.jsonl", 4, "en"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["1"], "text": ["a"]}, "has no column lang"),
        ({"lang": ["de"], "text": ["a"]}, "has no column id"),
        ({"id": [], "lang": [], "text": []}, "is empty"),
        ({"id": ["1", None], "lang": ["de", "de"], "text": ["a", "b"]}, "corpus.parquet row 1 has no id"),
        ({"id": ["1", ""], "lang": ["de", "de"], "text": ["a", "b"]}, "corpus.parquet row 1 has no id"),
        ({"id": ["1", "2"], "lang": ["de", "../x"], "text": ["a", "b"]}, "row 1: '../x' is not a language tag"),
        (
            {"id": ["1", "2", "1"], "lang": ["de", "de", "de"], "text": ["a", "b", "c"]},
            "document de:1 occurs twice: .*corpus.parquet row 0 and .*corpus.parquet row 2",
        ),
    ],
)
def test_bad_corpus(tmp_path: Path, columns: dict[str, list[str | None]], message: str) -> None:
    typed = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    with pytest.raises(UserError, match=message):
        corpus.scan_corpus(write(tmp_path, **typed), 2)


def test_the_language_of_a_parquet_file_without_that_column(tmp_path: Path) -> None:
    write(tmp_path, id=["1", "2", "3"], text=["a", "b", "c"])
    assert documents(corpus.scan_corpus(str(tmp_path), 2, "sw")) == {"sw:1": "a", "sw:2": "b", "sw:3": "c"}


@pytest.mark.usefixtures("ray_cluster")
def test_duplicate_in_another_file_and_broken_files(tmp_path: Path) -> None:
    write(tmp_path / "a", **TEXTS)
    write(tmp_path / "b", id=["9", "2"], lang=["de", "en"], text=["x", "y"])
    with pytest.raises(UserError, match=r"document en:2 occurs twice: .*a/corpus.parquet row 4 and .*b/corpus.parquet"):
        corpus.scan_corpus(str(tmp_path), 2)
    with pytest.raises(UserError, match="no input at"):
        corpus.scan_corpus(str(tmp_path / "none"), 2)
    whole = (tmp_path / "a/corpus.parquet").read_bytes()
    (tmp_path / "a/corpus.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a/corpus.parquet is not a whole parquet file"):
        corpus.scan_corpus(str(tmp_path / "a"), 2)


@pytest.mark.parametrize("part_rows", [1, 3, 100])
def test_parts_cover_every_row_once(part_rows: int) -> None:
    languages = np.random.default_rng(0).choice(["de", "en", "zh-Hant"], 50).tolist()
    spans = [
        parquet_documents.cut_spans(pa.array(tags), part_rows)[0]
        for tags in (languages[:30], languages[30:], languages[:0])
    ]
    parts = corpus.plan_parts(["f", "g", "h"], spans)
    seen = [
        (part.file, row)
        for part in parts
        for row in range(part.start, part.stop)
        if languages[row + (30 if part.file == "g" else 0)] == part.language
    ]
    assert sorted(seen) == [("f", row) for row in range(30)] + [("g", row) for row in range(20)]
    assert max(part.rows for part in parts) <= part_rows
    assert len({part.name for part in parts}) == len(parts)


def test_a_corpus_that_is_rewritten_under_its_name_is_read_anew(tmp_path: Path) -> None:
    for text in ("before", "after it was written anew"):
        uri = write(tmp_path, id=["1"], lang=["de"], text=[text])
        assert documents(corpus.scan_corpus(uri, 4)) == {"de:1": text}


def test_the_language_that_a_folder_says(tmp_path: Path) -> None:
    for language in ("de", "en"):
        write(tmp_path / f"lang={language}", id=["1"], text=[f"in {language}"])
        lines(f"{tmp_path}/lang={language}/more.jsonl", [{"_id": "2", "text": f"more in {language}"}])
    for files in (f"{tmp_path}/*/*.parquet", f"{tmp_path}/*/*.jsonl"):
        found = corpus.scan_corpus(files.replace("*", "lang=de", 1), 9)
        assert found.rows_by_language == {"de": 1}
        assert [key.partition(":")[0] for key in documents(found)] == ["de"]
        assert corpus.scan_corpus(files.replace("*", "lang=de", 1), 9, "deu").rows_by_language == {"de": 1}
        with pytest.raises(UserError, match="its folder says lang=de, and --language says en; leave that out"):
            corpus.scan_corpus(files.replace("*", "lang=de", 1), 9, "en")


def test_texts_that_are_none(tmp_path: Path) -> None:
    half = tmp_path / "corpus.jsonl"
    half.write_text('{"_id": "1", "text": "whole \\ud83d\\ude00"}\n{"_id": "2", "title": "\\ud83d", "text": "half"}\n')
    with pytest.raises(UserError, match="corpus.jsonl row 1 is not UTF-8: 'utf-8' codec can't encode character"):
        corpus.scan_corpus(str(half), 9, "en")
    half.write_bytes(b'{"_id": "1", "text": "caf\xe9"}\n')
    with pytest.raises(UserError, match="corpus.jsonl row 0 is not UTF-8"):
        corpus.scan_corpus(str(half), 9, "en")
    folder = tmp_path / "table"
    rows = [b"a", b"b", b"c", b"d", b"caf\xe9"]
    for column in ("text", "id", "title"):
        columns: dict[str, Any] = {"id": list("12345"), "lang": ["de", "en", "de", "en", "en"], "text": list("abcde")}
        uri = write(folder, **{**columns, column: pa.array(rows).view(pa.string())})
        with pytest.raises(UserError, match=f"corpus.parquet row 4: {column} is not UTF-8"):
            documents(corpus.scan_corpus(uri, 9))
    half.write_bytes(b'{"_id": "1", "text": "a"}\n{"_id": "2", "text": "half \xed\xa0\xbd"}\n')
    with pytest.raises(UserError, match="corpus.jsonl row 1 is not UTF-8"):  # which json takes as bytes
        corpus.scan_corpus(str(half), 9, "en")


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.xz"])
@pytest.mark.parametrize("part_rows", [1, 3, 9])
def test_a_byte_order_mark_is_dropped(tmp_path: Path, ending: str, part_rows: int) -> None:
    data = b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\n" for row in BEIR).encode()
    packed = {".gz": gzip.compress(data), ".xz": lzma.compress(data)}.get(ending[-3:], data)
    (tmp_path / f"corpus{ending}").write_bytes(packed)
    found = documents(corpus.scan_corpus(str(tmp_path), part_rows, "en"))
    assert found == {f"en:d{n}": f"Titel Text {n}" if n % 2 else f"Text {n}" for n in range(7)}


def test_a_byte_order_mark_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_bytes(b"\xef\xbb\xbf0\tzero\n1\tone\n")
    assert documents(corpus.scan_corpus(str(tmp_path), 1, "en")) == {"en:0": "zero", "en:1": "one"}
    for data in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "collection.tsv").write_bytes(data)
        with pytest.raises(UserError, match="is empty"):
            corpus.scan_corpus(str(tmp_path), 1, "en")


def test_ids_that_a_missing_value_made_floats(tmp_path: Path) -> None:
    floats = {"id": pa.array([1.0, 20.0, 3.0]), "lang": ["de", "en", "de"], "text": ["a", "b", "c"]}
    assert documents(corpus.scan_corpus(write(tmp_path, **floats), 1)) == {"de:1": "a", "de:3": "c", "en:20": "b"}
    whole = {**floats, "id": pa.array([1, 20, 3], pa.int32())}
    assert documents(corpus.scan_corpus(write(tmp_path, **whole), 1)).keys() == {"de:1", "de:3", "en:20"}
    for value, why in ((1.5, "row 1: the id 1.5 is a fraction"), (1e18, "row 1: the id .* too large to be exact"),
                       (float("nan"), "row 1 has no id"), (None, "row 1 has no id")):  # fmt: skip
        with pytest.raises(UserError, match=why):
            corpus.scan_corpus(write(tmp_path, **{**floats, "id": pa.array([1.0, value, 3.0])}), 1)


def test_ids_that_differ_behind_a_nul_are_two(tmp_path: Path) -> None:
    columns = {"id": ["a\0b", "a\0c", "a"], "lang": ["de"] * 3, "text": ["x", "y", "z"]}
    assert documents(corpus.scan_corpus(write(tmp_path, **columns), 2)) == {
        "de:a\0b": "x", "de:a\0c": "y", "de:a": "z"
    }  # fmt: skip


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("key", ["a b", "a\tb", "a\u00a0b", "a\u3000b", "a\u2028b", "a\0b", "a\x85b", " a"])
def test_ids_that_a_trec_file_cannot_hold(tmp_path: Path, key: str) -> None:
    uri = write(tmp_path, id=["1", key], lang=["de", "de"], text=["x", "y"])
    with pytest.raises(UserError, match=r"corpus.parquet row 1: id .* has white space or NUL"):
        corpus.absent(uri, [])


def test_languages_in_any_spelling_have_one_in_ids_and_parts(tmp_path: Path) -> None:
    columns = {"id": list("12345"), "lang": ["pt-BR", "zho_Hans", "PT", "mul", "zh-TW"], "text": list("abcde")}
    found = corpus.scan_corpus(write(tmp_path, **columns), 1)
    assert found.rows_by_language == {"mul": 1, "pt": 2, "zh": 1, "zh-Hant": 1}
    assert documents(found) == {"pt:1": "a", "zh:2": "b", "pt:3": "c", "mul:4": "d", "zh-Hant:5": "e"}
    lines(f"{tmp_path}/lang=pt_BR/corpus.jsonl", BEIR[:1])
    assert documents(corpus.scan_corpus(f"{tmp_path}/lang=pt_BR", 1)) == {"pt:d0": "Text 0"}
    assert documents(corpus.scan_corpus(f"{tmp_path}/lang=pt_BR/corpus.jsonl", 1, "por")) == {"pt:d0": "Text 0"}
    twice = {"id": ["1", "1"], "lang": ["pt-BR", "pt-PT"], "text": ["a", "b"]}
    with pytest.raises(UserError, match="document pt:1 occurs twice: .* row 0 and .* row 1"):
        corpus.scan_corpus(write(tmp_path / "twice", **twice), 1)


@pytest.mark.usefixtures("ray_cluster")
def test_texts_are_found_by_ids_of_embeddings_from_before(tmp_path: Path) -> None:
    uri = write(tmp_path, id=["1", "2"], lang=["pt-BR", "de"], text=["a", "b"])
    assert texts.of_corpus(uri, None, ["pt-BR:1", "de:2"]) == {"pt-BR:1": "a", "de:2": "b"}
    assert texts.of_corpus(uri, None, ["pt:1"]) == {"pt:1": "a"}


@pytest.mark.parametrize("part_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
def test_the_last_of_documents_with_one_id(tmp_path: Path, part_rows: int, ending: str) -> None:
    ids = ["1", "2", "1", "3", "2", "1", "4", "4"]
    if ending == ".parquet":
        tags = ["de", "de", "en", "de", "de", "de", "en", "en"]
        pq.write_table(pa.table({"id": ids, "lang": tags, "text": list("abcdefgh")}), tmp_path / "corpus.parquet")
        expected = {"de:1": "f", "de:2": "e", "en:1": "c", "de:3": "d", "en:4": "h"}
    else:
        lines(f"{tmp_path}/corpus{ending}", [{"_id": k, "text": t} for k, t in zip(ids, "abcdefgh", strict=True)])
        expected = {"en:1": "f", "en:2": "e", "en:3": "d", "en:4": "h"}
    with pytest.raises(UserError, match="twice: --duplicates last takes the last of .* row [01] and .* row [245]"):
        corpus.scan_corpus(str(tmp_path), part_rows, "en" if ending != ".parquet" else None)
    found = corpus.scan_corpus(str(tmp_path), part_rows, "en" if ending != ".parquet" else None, "last")
    assert documents(found) == expected
    assert (found.rows, found.duplicates) == (len(expected), len(ids) - len(expected))
    assert all(part.rows for part in found.parts)


@pytest.mark.usefixtures("ray_cluster")
def test_the_last_of_documents_with_one_id_in_several_files(tmp_path: Path) -> None:
    write(tmp_path / "a", id=["1", "2"], lang=["de", "de"], text=["x", "y"])
    write(tmp_path / "b", id=["2", "3", "2"], lang=["de", "de", "en"], text=["v", "w", "z"])
    found = corpus.scan_corpus(str(tmp_path), 1, None, "last")
    assert documents(found) == {"de:1": "x", "de:2": "v", "de:3": "w", "en:2": "z"}
    assert found.duplicates == 1


@pytest.mark.parametrize("part_rows", [1, 2, 3, 100])
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
def test_parts_of_the_documents_that_are_wanted(tmp_path: Path, part_rows: int, ending: str) -> None:
    """Each of them once, in the order of their hashes and named by these, also beside ids that come again."""
    ids = [str(n % 31) for n in range(40)]
    if ending == ".parquet":
        columns = {"id": ids, "lang": ["de", "en", "en", "fr"] * 10, "text": [f"t{n}" for n in range(40)]}
        pq.write_table(pa.table(columns), tmp_path / "corpus.parquet", row_group_size=7)
    else:
        lines(f"{tmp_path}/corpus{ending}", [{"_id": key, "text": f"t{n}"} for n, key in enumerate(ids)])
    found = corpus.scan_corpus(str(tmp_path), part_rows, "en" if ending != ".parquet" else None, "last", texts=True)
    assert found.documents is not None and len(found.documents) == found.rows
    everything = documents(found)
    rng = np.random.default_rng(part_rows)
    for share in (1, 0.5, 0.1):
        wanted = rng.random(found.rows) < share
        planned = plan.parts_to_encode(found, wanted, part_rows)
        assert sorted(np.concatenate([places for _, places in planned])) == np.flatnonzero(wanted).tolist()
        for part, places in planned:
            (read,) = corpus.read_texts([part])
            assert part.rows == len(read.ids) <= part_rows
            np.testing.assert_array_equal(hash_documents(read.ids, read.texts), found.documents[places])
            assert part.name == part_name(part.language, found.documents[places])
            assert read.texts == [everything[key] for key in read.ids]
        groups = corpus.groups([part for part, _ in planned])
        assert sum(len(texts.ids) for group in groups for texts in corpus.read_texts(group)) == wanted.sum()


def test_few_documents_of_many_make_few_parts(tmp_path: Path) -> None:
    rows = 4096 * 20
    uri = write(tmp_path, id=list(map(str, range(rows))), lang=["de"] * rows, text=["x"] * rows)
    found = corpus.scan_corpus(uri, 4096, texts=True)
    assert len(plan.parts_to_encode(found, np.ones(rows, dtype=bool), 4096)) == 20
    every = plan.parts_to_encode(found, np.arange(rows) % 100 == 0, 4096)
    assert [part.rows for part, _ in every] == [656, 164]  # what is read for one is bounded
    (one,) = plan.parts_to_encode(found, np.arange(rows) == 50_000, 4096)
    assert (one[0].rows, one[0].held) == (1, 4096)
