"""Typed descriptions of JSON files, and manifests that a stranger made."""

from __future__ import annotations

import posixpath
from pathlib import Path

import pytest
from hostile import LONG, assert_clear
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.storage.fields import Below, Count, Shape, check


class Some(Shape):
    file: Below
    rows: Count


@given(st.text(st.sampled_from("ab./\\\0\n"), max_size=8))
def test_a_name_that_is_taken_stays_within_the_folder(name: str) -> None:
    try:
        check({"file": name, "rows": 1}, Some, "here")
    except UserError as error:
        assert_clear(error)
    else:
        assert posixpath.normpath(posixpath.join("/folder", name)) == f"/folder/{name}" != "/folder/"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"file": "a"}, "here: rows: Field required"),
        ({"file": "a", "rows": "1"}, "here: rows: input should be a valid integer, not '1'"),
        ({"file": "a", "rows": True}, "here: rows: input should be a valid integer, not True"),
        ({"file": "a", "rows": -1}, "here: rows: input should be greater than or equal to 0, not -1"),
        ({"file": "a", "rows": 2**70}, "here: rows: .*less than"),
        ({"file": LONG, "rows": LONG}, r"here: rows: .*, not 'abab\w*\.\.\.\w*'$"),
        ({"file": "../a", "rows": 1}, r"here: file: '\.\./a' is no path within the folder"),
        ([], "here: input should be a valid dictionary"),
        (None, "here: input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_is_named(value: object, line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}") as caught:
        check(value, Some, "here")
    assert_clear(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', "9" * 5000, "[" * 100_000, '{"a":' * 100_000])
def test_no_manifest_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json") as caught:
        storage.read_manifest(str(tmp_path), "index")
    assert_clear(caught.value)
    with pytest.raises(UserError, match=r"run\.json") as caught:
        storage.claim(str(tmp_path), "index", {"a": 1})
    assert_clear(caught.value)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"host": 1, "pid": 1, "born": null, "seen": 1}'])
def test_no_driver_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "driver-mine.json").write_text(text)  # which is no name of ours
    with storage.claimed(str(tmp_path), "index", {}, ()):
        pass
    (tmp_path / "driver-000001.json").write_text(text)
    with pytest.raises(UserError, match=r"driver-000001\.json"), storage.claimed(str(tmp_path), "index", {}, ()):
        pass
