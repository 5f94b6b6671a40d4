"""Splits in names, as the hub reads them."""

from __future__ import annotations

import pytest

from hbt_ray.config import UserError
from hbt_ray.data.splits import of_split, split_of
from hbt_ray.storage import Listed


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00001.parquet", "train"), ("data/train-00000-of-00001.parquet", "train"),
        ("train/part-0.parquet", "train"), ("train.jsonl", "train"), ("de/dev.jsonl.gz", "validation"),
        ("valid_1.csv", "validation"), ("val.json", "validation"), ("de-test.parquet", "test"), ("eval.tsv", "test"),
        ("split=test/part-0.parquet", "test"), ("Test.parquet", "test"),
        ("training/test.parquet", "test"), ("triplet/data.parquet", None), ("trains.parquet", None),
        ("contest.parquet", None), ("devices.parquet", None), ("de/part-0.parquet", None),
    ],
)  # fmt: skip
def test_the_split_in_a_name(path: str, split: str | None) -> None:
    assert split_of(path) == split


def files(*paths: str) -> list[Listed]:
    return [Listed(f"/x/{path}", path, 1, "") for path in paths]


def test_one_split_is_read_and_several_are_asked_about() -> None:
    both = files("train-0.parquet", "validation-0.parquet", "test-0.parquet")
    with pytest.raises(UserError, match="/x holds several splits, test, train, validation: say which, as --split"):
        of_split("/x", both, None)
    assert of_split("/x", both, "train") == both[:1]
    assert of_split("/x", both, "dev+train") == both[:2]
    with pytest.raises(UserError, match="/x has no split dev2: it has test, train, validation"):
        of_split("/x", both, "dev2")
    with pytest.raises(UserError, match="has no split train: the names of its files tell none"):
        of_split("/x", files("a.parquet"), "train")
    for alone in (
        files("de/train.parquet", "en/train.parquet"),
        files("train.parquet", "more.parquet"),
        files("test.csv"),
    ):
        assert of_split("/x", alone, None) == alone
    with pytest.raises(UserError, match="splits, test, others: say which, as --split test, or name the other files"):
        of_split("/x", files("test.parquet", "pairs.parquet"), None)
