"""A name means itself: brackets are no pattern, `..` leads nowhere, and an output is apart from its input."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.config.uris import ModelName, OutUri, Uri


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "folder") if request.param == "local" else request.getfixturevalue("s3") + tmp_path.name


def files(uri: str) -> list[str]:
    fs, path = storage.filesystem(uri)
    return sorted(name.removeprefix(path) for name in fs.find(path))


# names that some of them would match, were they patterns, URLs or paths
NAMES = st.text("ab1[]!-?*#% äü+&=", min_size=1, max_size=6).filter(str.strip)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=2, max_size=4, unique=True))
def test_what_is_named_is_meant_and_nothing_else(folder: str, names: list[str]) -> None:
    place = storage.join(folder, uuid.uuid4().hex)  # of each example its own
    for name in names:
        storage.write_bytes(storage.join(place, name, "made", f"{name}.txt"), name.encode())
    meant, others = names[0], sorted(f"/{name}/made/{name}.txt" for name in names[1:])
    uri = storage.join(place, meant, "made")
    for named in (uri, storage.join(uri, f"{meant}.txt")):
        (found,) = storage.expand(named, (".txt",))
        assert storage.read_bytes(found) == meant.encode()
    assert storage.sizes(uri) == {f"{meant}.txt": len(meant.encode())}
    assert storage.exists(uri) and not storage.exists(storage.join(place, meant + "x"))
    copied = Path(storage.local_copy(uri))
    assert {path.name: path.read_text() for path in copied.iterdir()} == {f"{meant}.txt": meant}
    storage.clear(uri)
    assert files(place) == others


@pytest.mark.parametrize("name", ["run[12]", "run?", "run*"])
def test_clearing_a_folder_leaves_those_its_name_would_match(folder: str, name: str) -> None:
    for run in ("run1", "run2", name):
        storage.write_bytes(storage.join(folder, run, "made", "x"), b"1")
    storage.clear(storage.join(folder, name, "made"))
    assert files(folder) == ["/run1/made/x", "/run2/made/x"]
    storage.commit(storage.join(folder, name), "index", {})
    storage.remove(storage.join(folder, name))
    assert files(folder) == ["/run1/made/x", "/run2/made/x"]


def test_ray_deletes_a_folder_by_its_name(folder: str) -> None:
    for run in ("run1", "run[12]"):
        storage.write_bytes(storage.join(folder, run, "x"), b"1")
    fs, path = storage.arrow_filesystem(storage.join(folder, "run[12]"))
    fs.delete_dir(path)
    assert files(folder) == ["/run1/x"]


def test_a_name_that_is_there_is_no_pattern(folder: str) -> None:
    for name in ("qa1", "qa2", "qa[12]"):
        storage.write_bytes(storage.join(folder, name), name.encode())
    (found,) = storage.expand(storage.join(folder, "qa[12]"))
    assert storage.read_bytes(found) == b"qa[12]"
    assert len(storage.expand(storage.join(folder, "qa[1-9]"))) == 2  # nothing is called so
    storage.write_bytes(storage.join(folder, "in [v2]", "x.txt"), b"")
    assert len(storage.expand(storage.join(folder, "in [v2]"), (".txt",))) == 1


def test_a_copy_stays_in_its_folder(s3: str, tmp_path: Path) -> None:
    model = f"{s3}-{tmp_path.name}/model"
    storage.write_bytes(f"{model}/sub/config.json", b"{}")
    copied = Path(storage.local_copy(model))
    assert (copied / "sub" / "config.json").read_bytes() == b"{}"
    storage.write_bytes(f"{model}/../../../../../..{tmp_path}/escaped", b"gotcha")
    for read in (storage.local_copy, storage.expand):
        with pytest.raises(UserError, match="a name that leads out of it"):
            read(model)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    ("out", "inputs", "relation"),
    [
        ("s3://b/x", ["s3://b/x"], "is"),
        ("s3://b/x/store", ["s3://b/x/"], "lies in"),
        ("s3://b/x", ["s3://b/y", "s3://b/x/data/a.parquet"], "holds"),
        ("/data/./store/../qa", ["/data/qa"], "is"),
        ("/data/qa", ["/data/qa/*.parquet"], "holds"),
        ("/data/run1/out", ["/data/run*"], "lies in"),
    ],
)
def test_an_output_is_apart_from_its_input(out: str, inputs: list[str], relation: str) -> None:
    with pytest.raises(UserError, match=f" {relation} the input "):
        storage.refuse_overlap(out, inputs)


def test_an_output_beside_its_input_is_fine(tmp_path: Path) -> None:
    storage.refuse_overlap("s3://b/xy", ["s3://b/x", "hf://datasets/a/b"])
    (tmp_path / "link").symlink_to(tmp_path / "data")
    storage.refuse_overlap(str(tmp_path / "store"), [str(tmp_path / "data")])
    with pytest.raises(UserError, match="lies in"):
        storage.refuse_overlap(str(tmp_path / "link" / "store"), [str(tmp_path / "data")])


class Settings(BaseModel):
    data: Uri = "s3://b/x"
    out: OutUri = "s3://b/y"
    model: ModelName = "org/name"


def test_paths_in_settings_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    settings = Settings(data="qa/*.parquet", out="runs/a [1]", model="model")
    assert settings.data == f"{tmp_path}/qa/*.parquet"
    assert settings.out == f"{tmp_path}/runs/a [1]"
    assert settings.model == f"{tmp_path}/model"
    assert Settings(out="~/x").out == str(Path("~/x").expanduser())
    assert Settings(data="hf://datasets/a/b", model="org/name").model == "org/name"


@pytest.mark.parametrize("out", ["", "  ", "/", "~", "a::b", "s3://"])
def test_no_job_writes_there(out: str) -> None:
    with pytest.raises(ValidationError):
        Settings(out=out)


@pytest.mark.parametrize(
    ("holder", "uri", "opened"),
    [
        ("/data/index", "/other/collection", True),
        ("/data/index", "file:///other/collection", True),
        ("s3://bucket/index", "s3://bucket/collection/versions/000001.json", True),
        ("s3://bucket/index", "s3://victim/collection", False),
        ("s3://bucket/index", "/etc/collection", False),
        ("/data/index", "s3://victim/collection", False),
        ("/data/index", "sftp://127.0.0.1:1/collection", False),
        ("/data/index", "simplecache::http://127.0.0.1:1/x", False),
        ("s3://bucket/index", "gs://bucket/collection", False),
    ],
)
def test_what_a_manifest_names_is_opened_only_where_it_lies_itself(holder: str, uri: str, opened: bool) -> None:
    if opened:
        assert storage.named_by(holder, uri) == uri
        return
    with pytest.raises(UserError, match=f"^{holder} names .* on another file system"):
        storage.named_by(holder, uri)
