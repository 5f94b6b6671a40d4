"""What a run reads of each pair, beside its query and its passage."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from hbt_ray.data import lists
from hbt_ray.data.stores import PairStore
from hbt_ray.data.stream import Role
from hbt_ray.model import tokenizer
from hbt_ray.model.prefixes import tokenize_with


class Wanted(NamedTuple):
    """What a run reads.

    Attributes:
        negatives: number of hard negatives of each pair, at most.
        scores: whether scores are read: of the passage and of those negatives.
        query_prefix: what the texts of queries are tokenised with; empty: stored tokens are read.
        query_prefixes: the same for sources that have their own.
        passage_prefix: the same for passages and negatives.
    """

    negatives: int = 0
    scores: bool = False
    query_prefix: str = ""
    query_prefixes: Mapping[str, str] = {}
    passage_prefix: str = ""

    def prefix(self, name: str, source: str) -> str | None:
        """What the texts of this column of a pair are tokenised with, or None when their stored tokens are read."""
        if name == "query":
            return self.query_prefixes.get(source, self.query_prefix) or None
        return (self.passage_prefix or None) if name in ("passage", "negatives") else None


PLAIN = Wanted()


def column_of(name: Role, prefix: str | None) -> Role:
    """The column of a store that is read for this one of a pair."""
    texts: dict[Role, Role] = {"query": "query_text", "passage": "passage_text", "negatives": "negatives_text"}
    return name if prefix is None else texts[name]


def tokenised(
    store: PairStore, texts: pa.StringArray | pa.ListArray, prefix: str, text_tokens: int | None
) -> pa.ListArray:
    """The ids of prefix + text, list<int32> [texts] or, of lists of texts, list<list<int32>>, as the store's own."""
    assert text_tokens is not None
    cutter = kept_cutter(store.tokenizer_uri, store.tokenizer_fingerprint)
    return tokenize_with(cutter, prefix, texts, text_tokens)


def take_turns(values: pa.ListArray, index: np.ndarray, steps: np.ndarray, count: int, always: int = 0) -> pa.ListArray:
    """Lists number `index`, int64 [rows], of which at most `count` elements are taken, in the order they are used in.

    Where there are more, those of step s begin with number s modulo how many there are: each step meets others.

    Args:
        steps: the step of each row, int64 [rows].
        always: elements at the beginning of a list that are taken in any case, and do not take turns.
    """
    offsets = values.offsets.to_numpy().astype(np.int64)
    starts, lengths = offsets[index], np.diff(offsets)[index]
    first = np.minimum(lengths, always)
    rest = lengths - first
    taken = first + np.minimum(rest, count)
    ends = np.cumsum(taken)
    starts, steps, first, rest = (np.repeat(some, taken) for some in (starts, steps, first, rest))
    place = np.arange(len(starts)) - np.repeat(ends - taken, taken)
    turn = first + (steps + place - first) % np.maximum(rest, 1)
    inner = starts + np.where(place < first, place, turn)
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], ends]), pa.int32()), lists.take(values.values, inner), type=values.type
    )


@lru_cache(maxsize=2)
def kept_cutter(uri: str, fingerprint: str) -> Tokenizer:
    """A store's tokenizer, kept by this process; the fingerprint tells it from one that lay there before."""
    return tokenizer.cutter(uri, 1)  # `tokenize_with` sets the limit
