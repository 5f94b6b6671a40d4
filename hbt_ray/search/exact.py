"""Scores that depend on nothing but the two vectors: not on shards, blocks, threads or the BLAS library."""

from __future__ import annotations

import math

import numpy as np

UNIT = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}  # unit round-off


def scores(queries: np.ndarray, documents: np.ndarray, norm: float, positions: np.ndarray | None = None) -> np.ndarray:
    """The inner products: the exact sum of products, rounded to fp64 and then to fp32.

    A matrix product in fp64 rounds differently with every blocking, by at most `rounding_error`. The few results that
    lie so near to the border of two fp32 numbers that this decides between them are summed again without error.

    Args:
        queries: fp32 [queries, width].
        documents: fp32 [documents, width].
        norm: the largest L2 norm of a document, or more.
        positions: the documents to score for each query, int [queries, k]; all of them when None.

    Returns: fp32 [queries, documents] or [queries, k].
    """
    left = queries.astype(np.float64)
    if positions is None:
        products = left @ documents.T.astype(np.float64)
    else:
        products = np.matmul(documents[positions].astype(np.float64), left[:, :, None])[:, :, 0]
    error = rounding_error(queries, norm, np.float64).max(initial=0.0)
    rounded: np.ndarray = (products - error).astype(np.float32)
    for row, column in np.argwhere(rounded != (products + error).astype(np.float32)):
        document = documents[column if positions is None else positions[row, column]]
        rounded[row, column] = math.fsum((left[row] * document).tolist())  # products of fp32 are exact in fp64
    return rounded


def rounding_error(queries: np.ndarray, norm: float, dtype: type[np.floating]) -> np.ndarray:
    """A bound, float64 [queries], on the error of inner products of queries, fp32 [queries, width].

    The other vectors have at most `norm`, and products are summed in `dtype` in any order.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: n u / (1 - n u) times the product of the norms;
    doubled here, for the rounding of the norms and of the results.
    """
    relative = queries.shape[1] * UNIT[np.dtype(dtype)]
    bound: np.ndarray = 2 * relative / (1 - relative) * np.linalg.norm(queries.astype(np.float64), axis=1) * norm
    return bound


def largest_norm(vectors: np.ndarray) -> float:
    """The largest L2 norm of vectors, fp32 [rows, width]; 0 when there are none."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return math.sqrt(squares.max(initial=0.0))
