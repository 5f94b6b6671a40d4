"""The files that a URI names: found by few listings, without those that are hidden or unfinished."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from hbt_ray.config import UserError
from hbt_ray.storage.faults import named
from hbt_ray.storage.uris import MAGIC, below, filesystem

STAMPS = ("ETag", "etag", "blob_id", "mtime", "LastModified")  # what tells a file from a later one, as systems call it
ENDING = re.compile(r"(\.\w{1,8})(\.(gz|xz|zst|bz2))?$")
TABLE = re.compile(r"(^|/)(_delta_log|\.hoodie|metadata)/([^/]*)")  # of a format whose folders hold old rows as well
TABLES = {"_delta_log": "Delta", ".hoodie": "Hudi", "metadata": "Iceberg"}
Entries = dict[str, dict[str, Any]]  # what a file system says of files, by path


class Listed(NamedTuple):
    """A file as a listing tells it.

    Attributes:
        path: its path below the folder that was named, or that a pattern begins with; of a file by name, the name.
        size: length [bytes].
        stamp: time or tag, which changes when the file does.
    """

    uri: str
    path: str
    size: int
    stamp: str

    @property
    def version(self) -> list[Any]:
        """What changes when the file does, as JSON."""
        return [self.uri, self.size, self.stamp]


def find(uri: str, suffixes: tuple[str, ...] = ("",)) -> list[Listed]:
    """The files that `uri` names, sorted: a file; a folder's files with one of `suffixes`; or, where nothing bears that
    name, those that a pattern with `*`, `?` or `[ ]` matches, and those in folders that it matches.

    Names that begin with `_` or `.` are skipped below what was named, as Spark, Hive and Arrow skip them, but for
    partitions such as `_lang=de`.

    Raises:
        UserError: nothing is there, or only files of other kinds, or a table of Delta, Iceberg or Hudi; or a name leads
            out of the folder.
    """
    with named(uri):
        return _find(uri, suffixes)


def _find(uri: str, suffixes: tuple[str, ...]) -> list[Listed]:
    fs, path = filesystem(uri)
    path = path.rstrip("/") or "/"
    there = fs.find(path, detail=True)
    if list(there) == [path]:
        return [_listed(fs, path, path.rsplit("/", 1)[-1], there[path])]
    root, pattern = path, ""
    if not there and any(character in path for character in MAGIC):
        place = min(path.find(character) for character in MAGIC if character in path)
        root = path[:place].rpartition("/")[0]
        pattern = path[len(root) + 1 :]
        there = _candidates(fs, root, pattern)
    files = {below(root, name): entry for name, entry in there.items() if not name.endswith("/")}
    _refuse_tables(uri.rstrip("/").removesuffix(f"/{pattern}"), files)
    files = _matched(files, pattern) if pattern else files
    seen = {name: entry for name, entry in files.items() if _hidden(name) <= _hidden(pattern)}
    found = {name: entry for name, entry in seen.items() if name.endswith(suffixes)}
    if pattern and not found:  # a file that a pattern names may have any ending, as one that is named without
        expression = re.compile(glob_translate(pattern))
        found = {name: entry for name, entry in seen.items() if expression.match(name)}
    if not found:
        raise UserError(f"no input at {uri}{_what_is_there(files, seen, suffixes)}")
    return [_listed(fs, f"{root.rstrip('/')}/{name}", name, found[name]) for name in sorted(found)]


def expand(uri: str, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    """The URIs of what `find` finds.

    Raises:
        UserError: as `find`.
    """
    return [file.uri for file in find(uri, suffixes)]


def version_of(uri: str) -> list[Any]:
    """What changes when the file does: its name, length and time or tag; the same as a listing tells."""
    fs, path = filesystem(uri)
    with named(uri):
        return [uri, *_about(fs.info(path))]


def partition_columns(uri: str) -> dict[str, str]:
    """The columns that the file's folders say, as Hive writes them: `lang` is `de` for `s3://b/lang=de/part-0.parquet`.

    A folder for rows without a value says nothing.
    """
    found = {}
    for folder in uri.split("://")[-1].split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if equals and name and value != "__HIVE_DEFAULT_PARTITION__":
            found[unquote(name)] = unquote(value)
    return found


def _about(entry: dict[str, Any]) -> tuple[int, str]:
    return int(entry["size"]), next((str(entry[key]) for key in STAMPS if entry.get(key)), "")


def _listed(fs: fsspec.AbstractFileSystem, name: str, path: str, entry: dict[str, Any]) -> Listed:
    return Listed(name if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(name), path, *_about(entry))


def _candidates(fs: fsspec.AbstractFileSystem, root: str, pattern: str) -> Entries:
    """Files below `root`, among them all that the pattern means, by one listing or one for each folder that it matches.

    On object stores a listing has all levels below a prefix at the cost of one, so folders are not walked.
    """
    local = isinstance(fs, LocalFileSystem)
    if not root and not local:
        return {}  # a bucket's name is no pattern
    if "/" not in pattern and "**" not in pattern:
        expression = re.compile(glob_translate(pattern))
        try:
            entries = fs.ls(root or "/", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        names = {entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry for entry in entries}
        found = {entry["name"]: entry for entry in names.values() if entry["type"] == "file"}
        for name, entry in names.items():
            if entry["type"] == "directory" and (expression.match(name) or name in TABLES):
                found |= fs.find(entry["name"].rstrip("/"), detail=True)
        return found
    if local:
        hits = fs.glob(f"{root}/{pattern}", detail=True)
        found = {name: entry for name, entry in hits.items() if entry["type"] == "file"}
        for name, entry in hits.items():
            found |= fs.find(name, detail=True) if entry["type"] == "directory" else {}
        return found
    start = pattern[: min(pattern.find(character) for character in MAGIC if character in pattern)]
    takes_prefix = "prefix" in inspect.signature(getattr(fs, "_find", fs.find)).parameters
    listed: Entries = fs.find(root, detail=True, **({"prefix": start} if takes_prefix and start else {}))
    return listed


def _matched(files: Entries, pattern: str) -> Entries:
    """The files that match, or lie in a folder that matches."""
    expression = re.compile(glob_translate(pattern))

    def matches(name: str) -> bool:
        parts = name.split("/")
        return any(expression.match("/".join(parts[:count])) for count in range(1, len(parts) + 1))

    return {name: entry for name, entry in files.items() if matches(name)}


def _hidden(path: str) -> int:
    """How many parts of a path are hidden, by the rules of Spark."""
    parts = path.split("/")
    return sum(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in parts) + sum(
        part.endswith("._COPYING_") for part in parts
    )


def _refuse_tables(root: str, files: Mapping[str, Any]) -> None:
    for name in files:
        found = TABLE.search(name)
        if found and (found[2] != "metadata" or found[3].endswith(".metadata.json")):
            table = f"{root}/{name[: found.start()]}".rstrip("/")
            raise UserError(
                f"{table} is a table of {TABLES[found[2]]}, whose folder also holds rows that were deleted or replaced:"
                " write the rows of one version as plain parquet files and name their folder"
            )


def _what_is_there(files: Mapping[str, Any], seen: Mapping[str, Any], suffixes: tuple[str, ...]) -> str:
    """How the line goes on that says that nothing was found: what there is instead."""
    if not files:
        return ""
    if not seen:
        return ": names that begin with _ or . are hidden or unfinished, and there are no others"
    endings = Counter(found[0] if (found := ENDING.search(name)) else "other" for name in seen)
    told = " and ".join(f"{count:,} {ending}" for ending, count in endings.most_common(4))
    return f": it has {told} file{'s' if len(seen) > 1 else ''}; wanted: {', '.join(suffixes)}"
