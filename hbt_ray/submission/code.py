"""What a submission sends to the cluster: the code, and nothing else that lies beside it."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hbt_ray
from hbt_ray.config import UserError

ROOT = Path(hbt_ray.__file__).parents[1]
SENT = ("hbt_ray", "jobs", "cluster", "*.py", "*.yaml", "*.toml", "*.txt")
"""Folders and files of `ROOT` that are sent: those at the top may hold losses and settings of the user's."""
LEFT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
LARGEST = 100 * 2**20  # of all that is sent [bytes]; Ray takes five times as much
ROAD = "road.yaml"


class Code(NamedTuple):
    """What is sent.

    Attributes:
        folder: with a copy of it, on this machine.
        digest: sha256 of names and contents.
        files: how many.
        size: of all [bytes].
    """

    folder: Path
    digest: str
    files: int
    size: int


@contextlib.contextmanager
def copied(road: bytes | None = None) -> Iterator[Code]:
    """A copy of the code while the block runs, with a road's YAML beside it as `road.yaml`.

    Raises:
        UserError: it is not the repository that runs, or what would be sent is too large.
    """
    if not (ROOT / "jobs" / "submit.py").is_file():
        raise UserError(f"{ROOT} has no jobs/submit.py: submit from a checkout of the repository, which has the jobs")
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as temporary:
        folder = Path(temporary)
        for path in sorted({path for pattern in SENT for path in ROOT.glob(pattern) if path.name != ROAD}):
            if path.is_dir():
                shutil.copytree(path, folder / path.name, ignore=LEFT)
            elif not path.name.startswith("."):
                shutil.copy2(path, folder)
        if road is not None:
            (folder / ROAD).write_bytes(road)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        size = sum(path.stat().st_size for path in files)
        if size > LARGEST:
            largest = max(files, key=lambda path: path.stat().st_size).relative_to(folder)
            raise UserError(f"{ROOT}: its code has {size / 2**20:,.0f} MiB, of which {largest} is the largest file")
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
        yield Code(folder, digest.hexdigest(), len(files), size)
