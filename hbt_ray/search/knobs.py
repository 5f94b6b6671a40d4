"""The one setting of each kind of FAISS index that trades time for recall, wherever it lies within the index.

| index | knob | what it is |
|---|---|---|
| `IVF…`, also behind `OPQ…`, `PCA…` and with `RFlat` or `Refine(…)` | nprobe | lists visited |
| `HNSW…`, likewise | efSearch | candidates kept |
| another one with `RFlat` or `Refine(…)`, as `PQ16,RFlat` | k_factor | candidates scored anew, in lengths of the list |

Where a refined index has one of the first two, k_factor is `REFINED`. All others are searched as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import faiss

CANDIDATES = (16, 32, 64, 128, 256, 512, 1024)  # of efSearch
FACTORS = (1, 2, 4, 8, 16, 32, 64)  # of k_factor
REFINED = 16  # lengths of the list
USUAL = {"efSearch": 64, "k_factor": REFINED}  # of what has not been measured


def layers(index: faiss.Index) -> Iterator[faiss.Index]:
    """The index, and what is within it behind transformations of vectors and refinement, from the outside."""
    while True:
        index = faiss.downcast_index(index)
        yield index
        if isinstance(index, faiss.IndexPreTransform):
            index = index.index
        elif isinstance(index, faiss.IndexRefine):
            index = index.base_index
        else:
            return


def inner(index: faiss.Index) -> Any:  # of whose kinds faiss's type stubs know little
    """The innermost of `layers`."""
    *_, last = layers(index)
    return last


def refinements(index: faiss.Index) -> list[faiss.IndexRefine]:
    """Those of `layers` that score candidates anew."""
    return [layer for layer in layers(index) if isinstance(layer, faiss.IndexRefine)]


def knob(index: faiss.Index) -> str | None:
    """The name of its knob, or None when it has none."""
    last = inner(index)
    if isinstance(last, faiss.IndexIVF):
        return "nprobe"
    if isinstance(last, faiss.IndexHNSW):
        return "efSearch"
    return "k_factor" if refinements(index) else None


def efforts(index: faiss.Index) -> list[int]:
    """The values of the knob worth trying, ascending: for nprobe powers of two and at last all lists."""
    name = knob(index)
    if name == "nprobe":
        lists = int(inner(index).nlist)
        return [*(2**power for power in range((lists - 1).bit_length())), lists]
    return list(CANDIDATES if name == "efSearch" else FACTORS if name else ())


def usual(index: faiss.Index) -> int | None:
    """The value of the knob that an index gets that has not been measured: for nprobe the root of all lists."""
    name = knob(index)
    if name == "nprobe":
        return math.isqrt(int(inner(index).nlist) - 1) + 1
    return USUAL[name] if name else None


def turn(index: faiss.Index, value: int | None) -> None:
    """Set the knob of an index to a value; None leaves it."""
    name = knob(index)
    if value is None or name is None:
        return
    for layer in refinements(index):
        layer.k_factor = value if name == "k_factor" else REFINED
    last = inner(index)
    if name == "nprobe":
        last.nprobe = value
    elif name == "efSearch":
        last.hnsw.efSearch = value
