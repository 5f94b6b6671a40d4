"""What `prepare` finds where an input points: files, formats, splits and columns, before anything is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray.command import parse
from hbt_ray.config import Input, PrepareConfig, UserError
from hbt_ray.data import inputs
from hbt_ray.data.inspect import inspect
from hbt_ray.data.pieces import bundle
from hbt_ray.data.read import checked_records

PAIRS = {"query": ["q", "r"], "query_lang": ["de", "en"], "passage": ["p", "s"], "passage_lang": ["de", "en"]}


def write(path: Path, columns: dict[str, Any] | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns or PAIRS), path)
    return str(path)


def config(*flags: str) -> PrepareConfig:
    return parse(PrepareConfig, [*flags, "--tokenizer", "train:100", "--out", "/o"])


def found(*flags: str) -> inputs.Found[PrepareConfig]:
    return inputs.find(config(*flags), 2**20)


def rows(*flags: str) -> list[dict[str, Any]]:
    """All good records, as they would be read."""
    there = found(*flags)
    pieces = [piece for part in bundle(there.files, 2**20) for piece in part.pieces]
    return [row for piece in pieces for one in checked_records(piece, there.config) for row in one.good.to_pylist()]


@pytest.mark.usefixtures("ray_cluster")
def test_footers_of_many_files_are_read_in_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        table = pa.table({name: [value[0]] * 100 for name, value in PAIRS.items()})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=10 + number)
    told = config("--input", f"data={tmp_path}")
    here = inputs.find(told, 100)
    monkeypatch.setattr(inputs, "FOOTERS", 3)
    assert inputs.find(told, 100) == here
    assert [len(file.row_groups) for file in here.files] == [-(-100 // (10 + number)) for number in range(7)]


def test_names_of_inputs(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a" / "x.parquet"), write(tmp_path / "b" / "x.parquet")
    assert {row["source"] for row in rows("--input", one)} == {"data"}  # whatever its path
    assert {row["source"] for row in rows("--input", f"faq={one}", f"web={two}")} == {"faq", "web"}
    assert [row["source"] for row in rows("--input", f"faq={one}", f"faq={two}")] == ["faq"] * 4
    with pytest.raises(UserError, match=f"--input: {one}, {two} cannot be without a name.*NAME=URI.*quoted glob"):
        config("--input", one, two)
    with pytest.raises(UserError, match=f"--input: {two} cannot be without a name"):
        config("--input", f"faq={one}", two)


def test_an_input_may_have_an_equals_sign_in_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lang=de" / "x.parquet", {"query": ["q"], "passage": ["p"]})
    monkeypatch.chdir(tmp_path)
    for uri in (f"{tmp_path}/lang=de", "lang=de"):
        ((row,), (one,)) = rows("--input", uri), config("--input", uri).inputs()
        assert (one.name, one.uri, row["query_lang"]) == ("data", f"{tmp_path}/lang=de", "de")
    with pytest.raises(UserError, match="its folder says lang=de, and the settings say en"):
        rows("--input", "lang=de", "--language", "en")


def test_sources_of_rows_stay_within_their_input(tmp_path: Path) -> None:
    one = write(tmp_path / "a.parquet", {**PAIRS, "source": ["x", None]})
    two = write(tmp_path / "b.parquet", {**PAIRS, "source": ["x", "one"]})
    assert [row["source"] for row in rows("--input", one)] == ["x", "data"]
    assert [row["source"] for row in rows("--input", f"one={one}", f"two={two}")] == [
        "one/x",
        "one",
        "two/x",
        "two/one",
    ]


def test_a_data_set_known_by_name_needs_no_place() -> None:
    told = [(one.name, one.source, one.uri) for one in config("--input", "swim-ir", "faq=webfaq").inputs()]
    assert told == [("swim-ir", "swim-ir", None), ("faq", "webfaq", None)]
    with pytest.raises(UserError, match="swim-ir has no part xx; it has ar, bn, de"):
        inputs.find(config().model_copy(update={"input": (Input(source="swim-ir", config=("xx",)),)}), 1)


def test_inputs_in_a_file_of_settings(tmp_path: Path) -> None:
    write(tmp_path / "hub" / "train.parquet", {"anchor": ["q"], "positive": ["p"]})
    write(tmp_path / "hub" / "test.parquet", {"anchor": ["q"], "positive": ["p"]})
    own = write(tmp_path / "own.parquet")
    yaml = tmp_path / "run.yaml"
    hub = {"uri": f"{tmp_path}/hub", "split": "train", "language": "sw"}
    for listed in ({"hub": hub, "own": own}, [{"name": "hub", **hub}, f"own={own}"]):
        yaml.write_text(json.dumps({"input": listed}))
        read = rows("--config", str(yaml))
        assert [(row["source"], row["query_lang"]) for row in read] == [("hub", "sw"), ("own", "de"), ("own", "en")]


@pytest.mark.parametrize(
    ("name", "line", "source"),
    [
        ("a.jsonl", {"query": "q", "passage": "p"}, "pairs"),
        ("a.jsonl", {"anchor": "q", "positive": "p", "negative": "n"}, "pairs"),
        ("a.json", {"question": "q", "answer": "a"}, "pairs"),
        ("a.jsonl", {"group": "1", "lang": "de", "query": "q", "passage": "p"}, "parallel"),
        ("a.jsonl", {"group": "1", "lang": "de", "text": "q"}, "bitext"),
        ("a.jsonl", {"id": "1", "t": {"de": "q"}}, "jsonl"),
        ("a.jsonl", {"p_lang": "de", "passage": "p", "qas": []}, "jsonl"),
        ("a.json", {"data": [{"paragraphs": [{"context": "c", "qas": []}]}]}, "squad"),
    ],
)
def test_a_format_is_found_by_looking(tmp_path: Path, name: str, line: dict[str, Any], source: str) -> None:
    (tmp_path / name).write_text(json.dumps(line) + "\n")
    assert found("--input", f"{tmp_path}", "--language", "de").config.input[0].source == source


def test_what_is_not_known_is_told(tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.parquet", {"a": ["x"], "b": ["y"]})
    with pytest.raises(
        UserError, match=r"odd\.parquet: columns a, b are of no known format: map them, as --columns query=a"
    ):
        found("--input", odd)
    assert len(rows("--input", odd, "--columns", "query=a", "passage=b", "--language", "de")) == 1
    (tmp_path / "more.csv").write_text("query,passage\n")
    with pytest.raises(UserError, match=r"has 1 \.csv and 1 \.parquet files: name those of one kind by a glob"):
        found("--input", str(tmp_path), "--language", "de")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"a\.jsonl has no rows, so what it holds cannot be told"):
        found("--input", f"{tmp_path}/empty")
    with pytest.raises(UserError, match=r"no input at .*/nothing, and no data set is called nothing; known: webfaq"):
        found("--input", "nothing")
    with pytest.raises(UserError, match=r"--input: name what is to be read"):
        found()
    with pytest.raises(UserError, match=r"--query-language xx-no is no known language tag"):
        found("--input", odd, "--query-language", "xx-no")


def test_folders_of_a_data_set_of_the_hub(tmp_path: Path) -> None:
    columns = {"query": ["q"], "passage": ["p"]}
    for folder in ("triplet", "triplet-all"):
        write(tmp_path / folder / "train-00000-of-00001.parquet", columns)
    (tmp_path / "README.md").write_text("# card")
    (tmp_path / "dataset_infos.json").write_text("{}")
    one = {"uri": str(tmp_path), "config": ["triplet"], "language": "de"}
    settings = {"tokenizer": "train:100", "out": "/o"}
    assert len(inputs.find(PrepareConfig.model_validate({"input": [one], **settings}), 1).files) == 1
    assert len(found("--input", str(tmp_path), "--language", "de").files) == 2
    with pytest.raises(UserError, match="has no folder pair, which config names; it has triplet, triplet-all"):
        inputs.find(PrepareConfig.model_validate({"input": [{**one, "config": ["pair"]}], **settings}), 1)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_the_first_rows_of_an_input(tmp_path: Path, ending: str) -> None:
    for number in range(3):
        queries = {"query": [f"q{number}{row}" for row in range(10)], "passage": ["p"] * 10}
        if ending == "parquet":
            write(tmp_path / f"{number}.parquet", queries)
        else:
            lines = (json.dumps({"query": query, "passage": "p"}) for query in queries["query"])
            (tmp_path / f"{number}.jsonl").write_text("\n".join(lines))
    read = rows("--input", str(tmp_path), "--language", "de", "--limit", "13")
    assert [row["query"] for row in read] == [f"q0{row}" for row in range(10)] + ["q10", "q11", "q12"]


def test_a_first_look_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.jsonl").write_text(
        '{"anchor": "Wo?", "positive": "da"}\n{"anchor": "", "positive": "x"}\n{}'
    )
    flags = ("--input", f"faq={tmp_path}/in", "--language", "de", "--split", "train", "--inspect", "5")
    (told,) = inspect(config(*flags).model_copy(update={"out": f"{tmp_path}/out"}))["inputs"]
    assert told == {
        "name": "faq", "source": "pairs", "split": "train", "files": 1, "languages": ["de"],
        "columns": {"query": "anchor", "passage": "positive", "query_lang": "“de”", "passage_lang": "“de”"},
    }  # fmt: skip
    shown = capsys.readouterr().err
    for said in ("faq", "query = anchor", "Wo?", "query is empty", "not of this format"):
        assert said in shown
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
