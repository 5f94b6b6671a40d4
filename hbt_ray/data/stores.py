"""Several stores read as one: what a run trains on, each store with a weight.

The streams of all stores, in the order of the stores' names, are the streams of one. Translations are found within a
store: two stores may call different things by one group, so where there are several, a row's group is known by its
store as well.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from hbt_ray.config import UserError, WeightedStore
from hbt_ray.config.data import PLAIN
from hbt_ray.data.keys import group_within
from hbt_ray.data.stream import Matched, Stream
from hbt_ray.data.streams import StreamStore


class PairStore(Protocol):
    """What a plan is made of and a chunk is read from: one store or several."""

    uri: str
    streams: list[Stream]

    @property
    def identity(self) -> Any:
        """What the batches of a plan rest on, as JSON."""

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each store, by name."""

    @property
    def matched(self) -> list[Matched]:
        """The streams with translations of each other; `matches` takes numbers of this list."""

    @property
    def tokenizer_uri(self) -> str:
        """The folder of the tokenizer [URI]."""

    @property
    def tokenizer_fingerprint(self) -> str:
        """The hash of what decides the tokens."""

    @property
    def has_texts(self) -> bool:
        """Whether there are texts beside the tokens, for prefixes that need them."""

    def matches(self, pair: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of both streams of `matched[pair]` that are its matches `numbers`, int64 [matches] each."""

    def read_each(self, stream: int, wanted: Sequence[tuple[str, np.ndarray]]) -> list[tuple[pa.Array, np.ndarray]]:
        """Values and places of rows, as `StreamStore.read_each` gives them."""


class Stores:
    """The stores of a run.

    Attributes:
        uri: where they are, for messages.
        data: the stores asked for, by name, each with the checksum that it has now.
        stores: each of them, in this order.
        streams: the streams of all.
        weights: as asked for, by name.
        identity: of one store its checksum, whatever it is called; of several name to checksum and weight.
    """

    def __init__(self, data: Sequence[WeightedStore]) -> None:
        """Read the manifests.

        Raises:
            UserError: a place holds no finished stream store, or one with another checksum than it has to have, or two
                stores have different tokenizers.
        """
        asked = sorted(data, key=lambda one: one.name or PLAIN)
        self.stores = [StreamStore(one.uri) for one in asked]
        self.uri = ", ".join(store.uri for store in self.stores)
        self.data = tuple(
            one.model_copy(update={"checksum": store.identity}) for one, store in zip(asked, self.stores, strict=True)
        )
        for one, store in zip(asked, self.stores, strict=True):
            if one.checksum not in (None, store.identity):
                raise UserError(
                    f"{store.uri} has the checksum {store.identity} and not {one.checksum}: it was appended to, or made"
                    " anew, after the run had begun with it"
                )
            if store.tokenizer_fingerprint != self.stores[0].tokenizer_fingerprint:
                raise UserError(
                    f"{self.stores[0].uri} and {store.uri} were tokenised with different tokenizers, and one run needs"
                    " one: run prepare with the same --tokenizer for both"
                )
        self._several = len(asked) > 1
        self._names = [one.name or PLAIN for one in asked]
        self._begins = [0]
        self.weights = {name: one.weight for name, one in zip(self._names, asked, strict=True)}
        shares = whole_numbers([one.weight for one in asked])
        self.streams: list[Stream] = []
        for name, share, store in zip(self._names, shares, self.stores, strict=True):
            shown = f"{name}: " if self._several else ""
            self.streams += [
                replace(stream, name=f"{shown}{stream.name}", store=name, weight=share) for stream in store.streams
            ]
            self._begins.append(len(self.streams))
        told = zip(self._names, self.stores, shares, strict=True)
        several = {name: {"checksum": store.identity, "weight": share} for name, store, share in told}
        self.identity: Any = several if self._several else self.stores[0].identity

    @cached_property
    def matched(self) -> list[Matched]:
        """The streams with translations of each other; `matches` takes numbers of this list.

        Raises:
            UserError: the index of a store is missing or not the one that the manifest tells of.
        """
        found: list[Matched] = []
        for begin, store in zip(self._begins, self.stores, strict=False):
            found += [one._replace(left=one.left + begin, right=one.right + begin) for one in store.matched]
        return found

    @property
    def tokenizer_uri(self) -> str:
        """The folder of the tokenizer of one of the stores, which all have the same [URI]."""
        return self.stores[0].tokenizer_uri

    @property
    def tokenizer_fingerprint(self) -> str:
        """The hash of what decides the tokens."""
        return self.stores[0].tokenizer_fingerprint

    @property
    def has_texts(self) -> bool:
        """Whether all stores have texts beside the tokens, for prefixes that need them."""
        return all(store.has_texts for store in self.stores)

    def check_files(self) -> None:
        """Find out early what reading would find out late, as `StreamStore.check_files` does.

        Raises:
            UserError: a file of a stream is missing, or of another length than the manifest says.
        """
        for store in self.stores:
            store.check_files()

    def matches(self, pair: int, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of both streams of `matched[pair]` that are its matches `numbers`, int64 [matches] each.

        Raises:
            UserError: a file of a stream is missing or truncated.
        """
        before = 0
        for store in self.stores:
            if pair < before + len(store.matched):
                return store.matches(pair - before, numbers)
            before += len(store.matched)
        raise IndexError(pair)

    def read_each(self, stream: int, wanted: Sequence[tuple[str, np.ndarray]]) -> list[tuple[pa.Array, np.ndarray]]:
        """Values and places of rows, as `StreamStore.read_each` gives them; groups of several stores all differ.

        Raises:
            UserError: a file of the stream is missing or truncated.
        """
        number = bisect.bisect_right(self._begins, stream) - 1
        found = self.stores[number].read_each(stream - self._begins[number], wanted)
        if not self._several:
            return found
        name = self._names[number]
        return [
            (pa.array(group_within(values.to_numpy(), name)) if column == "group" else values, place)
            for (column, _), (values, place) in zip(wanted, found, strict=True)
        ]


def whole_numbers(weights: Sequence[float]) -> list[int]:
    """The smallest whole numbers in the proportions of the weights, each taken for the decimal number that it is
    written as."""
    parts = [Fraction(repr(float(weight))) for weight in weights]
    common = math.lcm(*(part.denominator for part in parts))
    whole = [int(part * common) for part in parts]
    return [number // math.gcd(*whole) for number in whole]
