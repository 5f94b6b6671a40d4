"""What a URI means: folders, globs, and what is skipped or refused in them, on local disk and on the S3 protocol."""

from __future__ import annotations

from pathlib import Path

import pytest
from flaky import FlakyServer

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.config.uris import absolute


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "folder") if request.param == "local" else request.getfixturevalue("s3") + tmp_path.name


def make(folder: str, *names: str) -> None:
    for name in names:
        storage.write_bytes(storage.join(folder, name), name.encode())


def found(uri: str, *suffixes: str) -> list[str]:
    return [file.path for file in storage.find(uri, suffixes or (".parquet",))]


def test_hidden_and_unfinished_files_are_skipped(folder: str) -> None:
    make(folder, "a.parquet", "._a.parquet", "_temporary/0/b.parquet", ".ipynb_checkpoints/a.parquet", "_SUCCESS")
    make(folder, "_lang=de/c.parquet", "d/.a.parquet.crc", "d/e.parquet", "f.parquet._COPYING_")
    assert found(folder) == ["_lang=de/c.parquet", "a.parquet", "d/e.parquet"]
    assert found(folder, "") == ["_lang=de/c.parquet", "a.parquet", "d/e.parquet"]
    assert found(f"{folder}/*.parquet") == ["a.parquet"]
    assert found(f"{folder}/_temporary") == ["0/b.parquet"]  # named, so not skipped
    assert found(f"{folder}/_temp*") == ["_temporary/0/b.parquet"]
    make(f"{folder}/only", "_x.parquet")
    with pytest.raises(UserError, match="no input at .*only: names that begin with _ or . are hidden"):
        found(f"{folder}/only")


def test_a_glob_of_folders_reads_what_is_in_them(folder: str) -> None:
    make(folder, "one.parquet/part-0.parquet", "one.parquet/_SUCCESS", "two.parquet/x/part-0.parquet", "three.parquet")
    make(folder, "de/train.parquet", "en/train.parquet", "en/notes.txt")
    everything = ["one.parquet/part-0.parquet", "three.parquet", "two.parquet/x/part-0.parquet"]
    assert found(f"{folder}/*.parquet") == everything
    assert found(f"{folder}/[de][en]/*.parquet") == ["de/train.parquet", "en/train.parquet"]
    assert found(f"{folder}/*/train.parquet") == ["de/train.parquet", "en/train.parquet"]
    assert found(f"{folder}/e*") == ["en/train.parquet"]
    assert found(f"{folder}/e*/*.txt") == ["en/notes.txt"]  # a file that is named may have any ending
    assert found(f"{folder}/**/part-0.parquet") == [everything[0], everything[2]]


def test_files_of_another_kind_are_told(folder: str) -> None:
    make(folder, "a.tsv", "b.tsv", "c.jsonl.gz")
    with pytest.raises(UserError, match=r"no input at .*: it has 2 .tsv and 1 .jsonl.gz files; wanted: .parquet$"):
        found(folder)
    with pytest.raises(UserError, match="no input at .*absent$"):
        found(f"{folder}/absent")


@pytest.mark.parametrize(
    ("log", "name"),
    [
        ("_delta_log/00000.json", "Delta"),
        ("metadata/v1.metadata.json", "Iceberg"),
        (".hoodie/hoodie.properties", "Hudi"),
    ],
)
def test_a_table_with_old_rows_in_its_folder_is_refused(tmp_path: Path, log: str, name: str) -> None:
    make(str(tmp_path), f"in/t/{log}", "in/t/part-0.parquet", "in/other.parquet")
    for uri in (f"{tmp_path}/in", f"{tmp_path}/in/t", f"{tmp_path}/in/*", f"{tmp_path}/in/t/*"):
        with pytest.raises(UserError, match=f"in/t.* is a table of {name}.*write the rows of one version"):
            found(uri)


def test_a_folder_called_metadata_is_a_folder(tmp_path: Path) -> None:
    make(str(tmp_path), "metadata/part-0.parquet")
    assert found(str(tmp_path)) == ["metadata/part-0.parquet"]


def test_a_version_is_the_same_listed_or_asked_for(folder: str) -> None:
    make(folder, "a.parquet", "b/c.parquet")
    for uri in (folder, f"{folder}/*", f"{folder}/b/c.parquet"):
        for file in storage.find(uri):
            assert file.version == storage.version_of(file.uri)
    before = storage.version_of(f"{folder}/a.parquet")
    storage.write_bytes(f"{folder}/a.parquet", b"other")
    assert storage.version_of(f"{folder}/a.parquet") != before


@pytest.mark.long
def test_a_thousand_files_take_few_requests(s3_server: FlakyServer, s3: str, tmp_path: Path) -> None:
    fs, path = storage.filesystem(f"{s3}{tmp_path.name}")
    fs.pipe({f"{path}/{number % 3}/part-{number:04d}.parquet": b"x" for number in range(1000)})
    for uri, count in ((f"{path}", 1000), (f"{path}/*/part-*.parquet", 1000), (f"{path}/1/*.parquet", 333)):
        before = len(s3_server.requests), s3_server.failed.copy()
        assert len(storage.find(f"s3://{uri}", (".parquet",))) == count
        sent = s3_server.requests[before[0] :]
        assert [method for method, _ in sent].count("HEAD") <= 1  # of what may be called as a pattern is
        assert len(sent) - sum(s3_server.failed.values()) + sum(before[1].values()) <= 4


def test_columns_that_folders_say() -> None:
    told = storage.partition_columns("s3://b/x/lang=de/region=a%20b/day=__HIVE_DEFAULT_PARTITION__/part=0.parquet")
    assert told == {"lang": "de", "region": "a b"}
    assert storage.partition_columns("/data/plain/a.parquet") == {}


@pytest.mark.parametrize(
    ("uri", "meant"), [("s3:/b/x", "s3://b/x"), ("gs:b/x", "gs://b/x"), ("hf:/datasets/a/b", "hf://")]
)
def test_a_uri_that_lost_a_slash(uri: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"{uri}: a URI has two slashes: {meant}"):
        absolute(uri)
    assert absolute("/a/s3:/b") == "/a/s3:/b"
