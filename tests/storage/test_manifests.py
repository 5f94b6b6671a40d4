"""Manifests and claims: whole or absent, on local disk and on the S3 protocol."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.storage import parts


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "folder") if request.param == "local" else request.getfixturevalue("s3") + tmp_path.name


def test_a_manifest_is_read_as_written(folder: str) -> None:
    with pytest.raises(UserError, match="holds no finished index"):
        storage.read_manifest(folder, "index")
    storage.commit(folder, "index", {"rows": 3, "name": "größe"})
    assert storage.committed(folder)
    assert storage.read_manifest(folder, "index")["name"] == "größe"
    with pytest.raises(UserError, match="holds index version 1, not stream store 1"):
        storage.read_manifest(folder, "stream store")
    uri = storage.join(folder, "manifest.json")
    storage.write_bytes(uri, storage.read_bytes(uri).replace(b'"rows": 3', b'"rows": 4'))
    with pytest.raises(UserError, match="was changed after it was written"):
        storage.read_manifest(folder, "index")


def test_a_manifest_that_is_new_is_written_once(folder: str) -> None:
    uri = storage.join(folder, "versions", "000001.json")
    storage.commit_new(uri, "collection", {"content": "a"})
    with pytest.raises(FileExistsError):
        storage.commit_new(uri, "collection", {"content": "b"})
    assert storage.read_manifest_file(uri, "collection")["content"] == "a"
    with pytest.raises(UserError, match="000001.json holds collection version 1, not index 1"):
        storage.read_manifest_file(uri, "index")


def test_of_two_writers_of_a_part_the_first_that_commits_counts(folder: str) -> None:
    def first() -> dict[str, str]:
        second = parts.do(folder, "0", lambda: {"file": "b"})  # commits while the other is at work
        assert second == ({"file": "b"}, True)
        return {"file": "a"}

    assert parts.do(folder, "0", first) == ({"file": "b"}, False)
    assert parts.do(folder, "0", lambda: pytest.fail("it is done")) == ({"file": "b"}, False)
    assert list(parts.Parts(folder, ["0"]).commits()) == [{"file": "b"}]


def test_a_claim_holds_one_run(folder: str) -> None:
    storage.claim(folder, "train", {"seed": 0, "langs": ("de", "en")})
    storage.claim(folder, "train", {"seed": 0, "langs": ("de", "en")})
    with pytest.raises(UserError, match="already holds another run: seed is 0 there and 1 here"):
        storage.claim(folder, "train", {"seed": 1, "langs": ("de", "en")})
    with pytest.raises(UserError, match="job is 'train' there and 'index' here"):
        storage.claim(folder, "index", {"seed": 0, "langs": ("de", "en")})


def test_files_in_a_folder_a_glob_and_a_name(folder: str) -> None:
    for name in ("b.parquet", "sub/a.parquet", "note.txt"):
        storage.write_parquet(storage.join(folder, name), pa.table({"n": [1]}))
    names = [uri.removeprefix(storage.absolute(folder)) for uri in storage.expand(folder, (".parquet",))]
    assert names == ["/b.parquet", "/sub/a.parquet"]
    (one,) = storage.expand(storage.join(folder, "*.txt"))
    assert storage.read_parquet(one)["n"].to_pylist() == [1]
    assert storage.expand(storage.join(folder, "b.parquet")) == [storage.absolute(storage.join(folder, "b.parquet"))]
    with pytest.raises(UserError, match="no input at"):
        storage.expand(storage.join(folder, "absent"))


def test_a_write_that_fails_leaves_nothing(folder: str) -> None:
    def fill(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        storage.write(storage.join(folder, "file"), fill)
    fs, path = storage.filesystem(folder)
    assert not fs.exists(path) or not fs.find(path)


def test_upload_remove_and_local_copy(folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "x").write_bytes(b"1")
    storage.upload(source, folder)
    assert (Path(storage.local_copy(folder)) / "sub" / "x").read_bytes() == b"1"
    storage.commit(folder, "index", {})
    storage.remove(folder)
    assert not storage.committed(folder)
    assert not storage.exists(storage.join(folder, "sub", "x"))
