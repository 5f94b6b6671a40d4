"""A teacher's vectors on a rank: found by the keys of texts, from a file that the ranks of a node share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hbt_ray import storage
from hbt_ray.encode import embeddings
from hbt_ray.train.node import once_a_node
from hbt_ray.train.teacher_keys import Indexed


class TeacherVectors:
    """The vectors of the collections of each role. All ranks must make one together."""

    def __init__(self, of_role: dict[str, list[Indexed]]) -> None:
        """Have the vectors on this node's disk, as many bytes as in the collections.

        Raises:
            UserError: a file of a collection is missing or damaged.
        """
        folder, _ = once_a_node(lambda: _fetch(of_role))
        self._keys, self._rows, self._vectors = (
            {role: np.load(_file(folder, role, name), mmap_mode="r") for role in of_role}
            for name in ("keys", "rows", "vectors")
        )
        once_a_node(lambda: _delete(folder))  # all have them open now, and so keep them until they end, however they do

    def __call__(self, role: str, keys: np.ndarray) -> np.ndarray:
        """The vector of each text of this role, fp32 [texts, width], by key, int64 [texts]; zeros where there is none:
        what the loss is for has been checked."""
        known, vectors = self._keys[role], self._vectors[role]
        place = np.minimum(np.searchsorted(known, keys), max(len(known) - 1, 0))
        there = known[place] == keys
        found = np.zeros((len(keys), vectors.shape[1]), dtype=np.float32)
        found[there] = vectors[self._rows[role][place[there]]]
        return found


def _fetch(of_role: dict[str, list[Indexed]]) -> str:
    """Write the vectors of each role into a folder of this node, which is returned."""
    folder = tempfile.mkdtemp(prefix="hbt_ray-")
    try:
        for role, some in of_role.items():
            _write(folder, role, some)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _delete(folder: str) -> str:
    shutil.rmtree(folder)
    return folder


def _write(folder: str, role: str, some: Sequence[Indexed]) -> None:
    tables = [storage.read_parquet(one.keys) for one in some]
    begins = np.cumsum([0, *(one.manifest["rows"] for one in some)])
    keys = np.concatenate([table["key"].to_numpy() for table in tables])
    rows = np.concatenate([table["row"].to_numpy() + begin for table, begin in zip(tables, begins, strict=False)])
    order = np.argsort(keys, kind="stable")
    np.save(_file(folder, role, "keys"), keys[order])
    np.save(_file(folder, role, "rows"), rows[order])
    half = all(one.manifest["stored"] == "float16" for one in some)
    shape = (int(begins[-1]), int(some[0].manifest["width"]))
    vectors = np.lib.format.open_memmap(
        _file(folder, role, "vectors"), mode="w+", dtype=np.float16 if half else np.float32, shape=shape
    )
    begin = 0
    for one in some:
        for part in one.manifest["parts"]:
            _, found = embeddings.read_part(one.uri, part, shape[1])
            vectors[begin : begin + len(found)] = found
            begin += len(found)
    vectors.flush()


def _file(folder: str, role: str, name: str) -> Path:
    return Path(folder, f"{role}-{name}.npy")
