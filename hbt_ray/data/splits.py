"""The split that a file is of, as the Hugging Face hub reads it from names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from hbt_ray.config import UserError
from hbt_ray.storage import Listed

WORDS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "dev": "validation",
    "val": "validation", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
SEPARATOR = r"[-._ 0-9]"  # of words in a name, as the hub has it
NAME = re.compile(rf"(?:^|{SEPARATOR})({'|'.join(WORDS)})(?:$|{SEPARATOR})")
T = TypeVar("T")


def split_of(path: str) -> str | None:
    """`train`, `validation` or `test` where the path below the input's folder says so; the innermost name counts."""
    for part in reversed(path.lower().split("/")):
        if part.startswith("split="):
            return WORDS.get(part.removeprefix("split="), part.removeprefix("split="))
        if found := NAME.search(part):
            return WORDS[found[1]]
    return None


def of_split(where: str, files: Sequence[Listed], wanted: str | None) -> list[Listed]:
    """The files of the split `wanted`, or of several, `a+b`; with None all, if they cannot be of several splits.

    Raises:
        UserError: there are several splits and none is wanted, or none of the files is of the one that is.
    """
    splits = [split_of(file.path) for file in files]
    found = sorted({split for split in splits if split is not None})
    if wanted is not None:
        chosen = {WORDS.get(split, split) for split in wanted.split("+")}
        if missing := sorted(chosen - set(found)):
            there = f"it has {', '.join(found)}" if found else "the names of its files tell none"
            raise UserError(f"{where} has no split {missing[0]}: {there}")
        return [file for file, split in zip(files, splits, strict=True) if split in chosen]
    rest = ["others"] if None in splits else []
    if found and found != ["train"] and len(found) + len(rest) > 1:
        raise UserError(
            f"{where} holds several splits, {', '.join([*found, *rest])}: say which, as --split {found[-1]}"
            + (f", or --split {'+'.join(found)}" if len(found) > 1 else "")
            + (", or name the other files by a glob" if rest else "")
        )
    return list(files)
