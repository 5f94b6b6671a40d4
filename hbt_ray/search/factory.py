"""FAISS factory strings: what can be built of them here is known before any vector is read.

Some strings FAISS takes and ends the process for (`HNSW0`, `PQ6x0`), some make an index that ranks by distance though
inner products were asked for (`HNSW8_PQ6`), and some cannot be filled row by row (`IDMap,Flat`).
"""

from __future__ import annotations

import re
from typing import Any

import faiss
import numpy as np

from hbt_ray.config import UserError
from hbt_ray.search.knobs import layers

SOURCE_LINE = re.compile(r"\.(?:cpp|h):\d+: ")  # stands before what FAISS has to say
NOTHING = re.compile(r"(?<!\d)0+(?!\d)")  # a number that is 0
ONE_LINK = re.compile(r"HNSW1(?!\d)")
TRIED = 16  # vectors
# what is searched as a whole, besides what has a knob
SCANNED = (faiss.IndexFlatCodes, faiss.IndexFastScan)
# what FAISS ends the process for when it is to score given documents again
NOT_REFINING = (faiss.IndexIVF, faiss.IndexFastScan, faiss.IndexRefine)


def create_index(factory: str, width: int) -> faiss.Index:
    """An empty index.

    Raises:
        UserError: FAISS does not know the factory string, or not for vectors of this width; or it is an index of
            another kind than those that `knobs.py` and `SCANNED` have.
    """
    if NOTHING.search(factory):
        raise UserError(f"--factory {factory}: a number in it is 0")
    if ONE_LINK.search(factory):
        raise UserError(f"--factory {factory}: a graph needs two links a vector at least: HNSW2")
    try:
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UserError(f"--factory {factory}: {reason(error)}") from None
    if why := _unfit(index):
        raise UserError(f"--factory {factory}: {why}")
    return index


def train_index(index: faiss.Index, sample: np.ndarray, factory: str) -> None:
    """Train the index on vectors, fp32 [rows, width].

    Raises:
        UserError: they are too few.
    """
    try:
        index.train(sample)
    except RuntimeError as error:
        raise UserError(f"--factory {factory}: {reason(error)} ({len(sample)} vectors to train on)") from None


def try_index(trained: np.ndarray, factory: str) -> None:
    """Fill a copy of a trained index, given as its bytes, with some random vectors, and search it.

    Raises:
        UserError: FAISS cannot, or ranks by something else than descending scores.
    """
    index = faiss.deserialize_index(trained)
    vectors = np.random.default_rng(0).standard_normal((TRIED, index.d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    try:
        index.add(vectors)
        scores, found = index.search(vectors, TRIED)
    except RuntimeError as error:
        raise UserError(f"--factory {factory}: {reason(error)}") from None
    scores[found < 0] = -np.inf
    with np.errstate(invalid="ignore"):
        if (np.diff(scores, axis=1) > 0).any():
            raise UserError(f"--factory {factory}: its scores are distances, not inner products")


def reason(error: RuntimeError) -> str:
    """What an exception of FAISS says, without its place in the source, as one line."""
    return " ".join(SOURCE_LINE.split(str(error))[-1].split())


def _unfit(index: faiss.Index) -> str | None:
    """Why an empty index cannot be used, if it cannot."""
    for layer in layers(index):
        kind = type(layer).__name__
        if isinstance(layer, faiss.IndexIDMap):
            return "an id map keeps ids of its own; those of the documents are kept beside the index: leave it out"
        if layer.metric_type != faiss.METRIC_INNER_PRODUCT:
            return f"FAISS makes it rank by distances, not inner products ({kind})"
        if isinstance(layer, faiss.IndexPreTransform):
            chain: Any = layer.chain  # which faiss's type stubs call a list
            for place in range(chain.size()):
                if why := _unfit_transform(faiss.downcast_VectorTransform(chain.at(place))):
                    return why
        elif isinstance(layer, faiss.IndexRefine):
            finer = faiss.downcast_index(layer.refine_index)
            if any(isinstance(one, NOT_REFINING) for one in layers(finer)):
                return f"FAISS cannot refine with an index of kind {type(finer).__name__}"
            if why := _unfit(finer):
                return why
        elif not isinstance(layer, (faiss.IndexIVF, faiss.IndexHNSW, *SCANNED)):
            return f"an index of kind {kind} cannot be searched here: only flat codes, IVF and HNSW"
    return None


def _unfit_transform(transform: faiss.VectorTransform) -> str | None:
    before, after = int(transform.d_in), int(transform.d_out)
    if isinstance(transform, faiss.PCAMatrix | faiss.ITQTransform) and after > before:
        return f"{type(transform).__name__} cannot make vectors of {before} numbers {after} wide"
    if isinstance(transform, faiss.OPQMatrix) and after % transform.M:
        return f"OPQ{transform.M} cannot divide vectors of {after} numbers by {transform.M}"
    return None
