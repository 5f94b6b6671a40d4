"""What records are known by inside a store: their group, their place in the shuffle, and their content.

Nothing here depends on the file that a record came from: the same rows in other files make the same store.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.arrays import GOLDEN, splitmix64


def group_ids(good: pa.Table) -> np.ndarray:
    """A 63-bit id, int64 [records], of each record's source and group; rows without a group that ask the same query in
    the same language are one group: they are several positives of that query."""
    columns = [good[name].to_pylist() for name in ("source", "group", "query_lang", "query")]
    names = [
        f"{source}\0{group}" if group else f"{source}\0\0{language}\0{query}"
        for source, group, language, query in zip(*columns, strict=True)
    ]
    return _hashed(names)


def content_ids(good: pa.Table) -> np.ndarray:
    """A 63-bit id, int64 [records], of each record's query, passage, negatives and scores."""
    columns = [good[name].to_pylist() for name in ("query", "passage", "negatives", "scores")]
    names = [
        "\0".join([query, passage, *negatives, *map(repr, scores)])
        for query, passage, negatives, scores in zip(*columns, strict=True)
    ]
    return _hashed(names)


def shuffle_order(groups: np.ndarray, seed: int) -> np.ndarray:
    """A random number, uint64 [records], of each group id, int64 [records], keyed by the seed; no two ids share one."""
    return splitmix64(groups.astype(np.uint64) + np.uint64((seed + 1) * GOLDEN % 2**64))


def partitions_of(groups: np.ndarray, seed: int, partitions: int) -> np.ndarray:
    """The partition of the shuffle, int64 [records], of each group id, int64 [records]: ranges of `shuffle_order`."""
    place = shuffle_order(groups, seed) >> np.uint64(32)
    return (place * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)


def stream_name(source: str, kind: str, languages: tuple[str, str]) -> str:
    """A readable folder name that no other stream of a store has."""
    readable = "-".join(dict.fromkeys(languages))
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in source[:80])
    unique = storage.fingerprint([source, kind, languages])[:12]
    return f"{safe.strip('.') or '_'}/{kind}-{readable}-{unique}"


def group_within(groups: np.ndarray, store: str) -> np.ndarray:
    """A 63-bit id, int64 [records], of each group id, int64 [records], of the store with this name among others."""
    of_store = np.uint64(int(_hashed([store])[0]))
    return (splitmix64(groups.astype(np.uint64) + of_store) >> np.uint64(1)).astype(np.int64)


def _hashed(names: list[Any]) -> np.ndarray:
    hashed = pd.util.hash_array(np.array(names, dtype=object), categorize=False)
    return (hashed >> np.uint64(1)).astype(np.int64)
