"""Evaluations as users name them: `NAME=FOLDER`, or `NAME=FOLDER,FOLDER` for several seeds of one system."""

from __future__ import annotations

from hbt_ray import storage


def named_folders(entry: str) -> tuple[str, list[str]]:
    """The name, empty when none is given, and the folders, each a URI that means the same in every process.

    Raises:
        UserError: a path is none that `absolute` takes.
    """
    name, equals, folders = entry.partition("=")
    if not equals or "/" in name:
        name, folders = "", entry
    return name, [storage.absolute(folder) for folder in folders.split(",")]
