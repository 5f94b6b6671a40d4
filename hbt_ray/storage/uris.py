"""File systems by URI, and names: a name means itself, and what is found lies where it was looked for."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import fsspec
import pyarrow.fs
from fsspec.implementations.local import LocalFileSystem

from hbt_ray.config import UserError
from hbt_ray.storage.faults import named

MAGIC = "*?["  # characters that make a pattern


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec file system of `uri` and the path in it.

    Raises:
        UserError: the scheme is unknown, its package is not installed, or file systems are chained.
    """
    if "::" in uri:
        raise UserError(f"{uri}: file systems cannot be chained by ::")
    try:
        # no listings cache: other processes write what this one reads
        fs, path = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UserError(f"{uri}: {error}") from None
    return fs, path


def arrow_filesystem(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system of `uri` as pyarrow and Ray want it, and the path in it.

    Raises:
        UserError: `filesystem` refuses the URI.
    """
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return pyarrow.fs.LocalFileSystem(), path
    return pyarrow.fs.PyFileSystem(_Literal(fs)), path


class _Literal(pyarrow.fs.FSSpecHandler):
    """fsspec takes what it deletes as a pattern: `run[12]` would delete `run1` and `run2`."""

    def delete_dir(self, path: str) -> None:
        delete_below(self.fs, path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        delete_below(self.fs, path)


def delete_below(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Delete the file or folder `path` if it is there; its name is no pattern."""
    if isinstance(fs, LocalFileSystem):
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)
        return
    for name in fs.find(path):
        fs.rm_file(name)


def is_local(uri: str) -> bool:
    """Whether `uri` is a path of this machine."""
    return isinstance(filesystem(uri)[0], LocalFileSystem)


def join(uri: str, *parts: str) -> str:
    """`uri` with the parts behind it."""
    return "/".join([uri.rstrip("/"), *parts])


def exists(uri: str) -> bool:
    """Whether a file or folder is there."""
    fs, path = filesystem(uri)
    with named(uri):
        return bool(fs.exists(path))


def below(folder: str, name: str) -> str:
    """The path of the file `name` relative to the `folder` that it was found in.

    Raises:
        UserError: it would lie outside, as a key of an object store with `..` in it does.
    """
    folder = folder.rstrip("/")
    relative = name.removeprefix(f"{folder}/")
    clean = posixpath.normpath(relative)
    if relative == name or clean.startswith(("/", "../")) or clean in ("..", ".") or "\\" in relative:
        raise UserError(f"{folder} holds {name!r}, a name that leads out of it")
    return clean


def named_by(holder: str, uri: str) -> str:
    """A URI that a manifest in the folder `holder` names: it is opened only where the folder is itself.

    Whoever made the folder may be a stranger, and the user has said no more than that it shall be read: so no other
    server or bucket is asked, nor this machine's disk for what lies elsewhere.

    Raises:
        UserError: it is on another file system, or in another bucket.
    """
    if _store(uri) != _store(holder):
        raise UserError(
            f"{holder} names {uri}, which is on another file system: only what lies on the same one is opened; copy"
            " both there"
        )
    return uri


def _store(uri: str) -> tuple[str, str]:
    """Scheme and bucket, or server, of a URI; of a local path none. Its text alone says so: nothing is opened."""
    scheme, found, path = uri.partition("://")
    return (scheme, path.partition("/")[0]) if found and scheme not in ("file", "local") else ("", "")


def refuse_overlap(out: str, inputs: Iterable[str]) -> None:
    """Check that the output of a job lies apart from its inputs.

    Raises:
        UserError: the output is, holds or lies in one of the inputs.
    """
    mine = _place(out)
    above = [mine]
    while (parent := posixpath.dirname(above[-1])) not in ("", above[-1]):
        above.append(parent)
    for uri in inputs:
        theirs = _place(uri)
        pattern = any(character in theirs for character in MAGIC)
        if theirs in above:
            relation = "is" if theirs == mine else "lies in"
        elif theirs.startswith(f"{mine}/"):
            relation = "holds"
        elif pattern and any(fnmatch(place, theirs) for place in above):
            relation = "lies in"
        else:
            continue
        raise UserError(f"--out {out} {relation} the input {uri}: name a folder of its own")


def _place(uri: str) -> str:
    """Where a URI leads, whatever links and spellings lead there."""
    if is_local(uri):
        return os.path.realpath(filesystem(uri)[1])
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{posixpath.normpath(path)}".rstrip("/")
