"""JSON and YAML that are made to break a reader: the value, or one ValueError, in bounded time."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hbt_ray.parsing import JSON_VALUES, YAML_BYTES, parse_json, parse_yaml

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(categories=["L", "N", "P"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=10,
)
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 9)
)


@settings(max_examples=50, deadline=None)
@given(plain)
def test_what_was_written_is_read(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"9" * 5000, "is not JSON: .*digits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON: .*digits"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a":' * 100_000, "is not JSON"),
        (b"[" + b"[]," * JSON_VALUES, "has more than 8,388,608 values"),
    ],
)
def test_json_that_is_refused(text: bytes, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}"):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BOMB, "has aliases that stand for more than 131,072 values"),
        (MERGED, "has aliases that stand for more than 131,072 values"),
        ("a: &a [*a]", "has aliases that stand for .* themselves"),
        ("[" * 20_000, "is not YAML"),
        ("a: [", "is not YAML"),
        ("\0", "is not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("a: !!int ''", "is not YAML"),
        ("a: !!bool x", "is not YAML"),
        ("a: !!timestamp x", "is not YAML"),
        ("a: 2020-99-99", "is not YAML"),
        ("a: " + "9" * 5000, "is not YAML: .*digits"),
        ("a: 0x" + "f" * 5000, "cannot be used: a whole number cannot have more than 64 bits"),
        ("a: 18446744073709551616", "cannot be used: a whole number cannot have more than 64 bits"),
        ("a: .inf", "cannot be used: inf is no finite number"),
        ("a: [.nan]", "cannot be used: nan is no finite number"),
        ('a: "\\ud800"', "cannot be used: .*a character that no text can have"),
        ('{"a\\0": 1}', "cannot be used: .*a character that no text can have"),
        ("x" * (YAML_BYTES + 1), "has more than 262,144 bytes"),
    ],
)
def test_yaml_that_is_refused(text: str, line: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=f"^{line}"):
        parse_yaml(text)
    assert time.process_time() - started < 5


def test_aliases_and_merges_of_a_settings_file_are_taken() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]
    }  # fmt: skip
    assert parse_yaml("") is None
