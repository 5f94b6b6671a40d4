"""Keys of texts: 63-bit numbers that are equal for equal token ids.

Multilinear hashing: Lemire and Kaser 2014. Whole columns at a time: nothing here runs once a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa

from hbt_ray.batches.order import Purpose, mix, rekey


def of_padded(ids: np.ndarray, lengths: np.ndarray, padding: int) -> np.ndarray:
    """The key of each text, int64 [texts], of token ids, int64 [texts, longest], however far they are padded.

    Args:
        lengths: of the texts, int [texts].
        padding: token id behind each.
    """
    factors, before = _factors(_room(ids.shape[1]))
    hashed = np.einsum("ij,j->i", ids.view(np.uint64), factors[: ids.shape[1]])
    hashed -= (before[ids.shape[1]] - before[lengths]) * np.uint64(padding)
    return _keys(hashed, before[lengths])


def of_lists(texts: pa.ListArray, skipped: np.ndarray) -> np.ndarray:
    """The key of each text, int64 [texts], of lists of token ids without the first `skipped`, int64 [texts]."""
    starts, lengths = _borders(texts, skipped)
    factors, before = _factors(_room(int(lengths.max(initial=1))))
    ends = np.cumsum(lengths)
    place = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    ids = texts.values.to_numpy()[np.repeat(starts, lengths) + place].astype(np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(ids * factors[place])])  # modulo 2^64
    return _keys(sums[ends] - sums[ends - lengths], before[lengths])


def tokens_shared(texts: pa.ListArray, ids: Sequence[int]) -> np.ndarray:
    """How many tokens of each text, from its beginning on, are those of `ids`: int64 [texts]."""
    starts, lengths = _borders(texts, np.zeros(len(texts), dtype=np.int64))
    place = np.minimum(np.arange(len(ids)), np.maximum(lengths - 1, 0)[:, None])
    tokens = np.append(texts.values.to_numpy(), -1)  # so that there is one where all texts are empty
    same = (tokens[starts[:, None] + place] == np.array(ids)) & (np.arange(len(ids)) < lengths[:, None])
    return np.logical_and.accumulate(same, axis=1).sum(axis=1)


def _borders(texts: pa.ListArray, skipped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each text begins behind what is skipped, and its length from there, int64 [texts] each."""
    offsets = texts.offsets.to_numpy().astype(np.int64)
    return offsets[:-1] + skipped, np.diff(offsets) - skipped


def _keys(hashed: np.ndarray, of_lengths: np.ndarray) -> np.ndarray:
    """Keys, int64 [texts], of sums over tokens and what tells lengths apart, uint64 [texts]: so a token 0 counts."""
    return (rekey(6, hashed + of_lengths) >> np.uint64(1)).astype(np.int64)


def _room(width: int) -> int:
    return 1 << max(width - 1, 0).bit_length()


@cache
def _factors(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A random number, uint64, for each place in a text, and the sum of those before each place."""
    factors = mix(0, Purpose.TEXT, np.arange(count))
    return factors, np.concatenate([np.zeros(1, np.uint64), np.cumsum(factors)])
