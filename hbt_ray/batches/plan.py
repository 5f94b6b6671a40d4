"""The plan: which rows make global batch `step`, as a pure function of manifest, settings and step.

A step draws a stratum, a draw takes the stratum's next `batch_size` rows, and a row is where its place in the current
pass falls. Each is arithmetic: no state, no communication, no history (design, invariants 5 to 9).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from hbt_ray import storage
from hbt_ray.batches.order import LONGEST, Shares, mix, permute
from hbt_ray.config import PlanConfig, UserError
from hbt_ray.data import languages
from hbt_ray.data.streams import Stream, StreamStore

VERSION = 1  # of the arithmetic: a change of it, here or in `order`, makes other batches of the same settings
CYCLE = 1024  # steps over which every stratum gets its share; their order within is random
WEIGHT_UNITS = 2**30  # resolution of the strata's shares
Kind = Literal["monolingual", "cross-lingual"]


class Batch(NamedTuple):
    """Global batch of one step; arrays have one entry a row [batch_size].

    Attributes:
        stratum: `mono:<lang>`, `cross`, or `cross:<query lang>-<passage lang>`.
        streams: index of the row's stream in the store, int64.
        rows: row of the stream, int64.
        query_languages, passage_languages: index in `Plan.languages`, int64.
    """

    step: int
    stratum: str
    kind: Kind
    streams: np.ndarray
    rows: np.ndarray
    query_languages: np.ndarray
    passage_languages: np.ndarray


class Stratum:
    """What a batch is made of: the streams that have it, and the language pairs each row can give."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind
        self.streams: list[int] = []
        self.lengths: list[int] = []  # rows of each stream
        self.pairs: list[np.ndarray] = []  # per stream: language indexes, int64 [pairs, 2]

    def add(self, stream: int, length: int, pairs: list[tuple[int, int]]) -> None:
        self.streams.append(stream)
        self.lengths.append(length)
        self.pairs.append(np.array(pairs, dtype=np.int64))

    def freeze(self) -> None:
        """Turn the lists into the arrays that `Plan.batch` indexes."""
        self.rows = sum(self.lengths)
        self.shares = Shares(np.array(self.lengths, dtype=np.int64))
        self.length_array = np.array(self.lengths, dtype=np.int64)
        self.stream_array = np.array(self.streams, dtype=np.int64)
        self.pair_counts = np.array([len(pairs) for pairs in self.pairs], dtype=np.uint64)
        self.pair_starts = np.cumsum([0, *map(len, self.pairs)])[:-1]
        self.all_pairs = np.concatenate(self.pairs)


class Plan:
    """The composition of every global batch of a run.

    Attributes:
        languages: all languages of the plan; a batch names them by index.
        strata, weights: what batches are made of, and the share of steps of each.
        hash: equal for two plans that give the same batches.
    """

    def __init__(self, store: StreamStore, config: PlanConfig) -> None:
        """Raises:
        UserError: the store has no row for what the strategy needs, or a named language is unknown or not in it.
        """
        self.config = config
        self.row_group_rows = store.row_group_rows
        self.identity = {"plan": VERSION, "store": store.manifest["checksum"], **config.model_dump(mode="json")}
        self.hash = storage.fingerprint(self.identity)
        self.languages = _chosen_languages(store.streams, config)
        monolingual, cross = _strata(store.streams, self.languages, config)
        alpha = {"x-x": 1.0, "x-y": 0.0, "hybrid": config.alpha}[config.strategy]
        if alpha > 0 and not monolingual:
            raise UserError(f"--strategy {config.strategy}: {store.uri} has no monolingual pair in these languages")
        if alpha < 1 and not cross:
            raise UserError(
                f"--strategy {config.strategy}: {store.uri} has no translations, so no cross-lingual batch can be drawn"
            )
        shares = [
            *_weights([stratum.rows for stratum in monolingual], config.language_exponent, alpha),
            *_weights([stratum.rows for stratum in cross], config.language_exponent, 1 - alpha),
        ]
        kept = [(stratum, share) for stratum, share in zip([*monolingual, *cross], shares, strict=True) if share > 0]
        self.strata = [stratum for stratum, _ in kept]
        self.weights = np.array([share for _, share in kept])
        for stratum in self.strata:
            if stratum.rows >= LONGEST:
                raise UserError(f"stratum {stratum.name} has {stratum.rows} rows; at most {LONGEST - 1} are supported")
        units = np.maximum(np.round(self.weights * WEIGHT_UNITS).astype(np.int64), 1)
        self._shares = Shares(units)
        self._cycle: Callable[[int], tuple[np.ndarray, np.ndarray]] = lru_cache(maxsize=4)(self._draw_cycle)

    def draw(self, step: int) -> tuple[int, int]:
        """Index of the stratum of `step`, and how many earlier steps drew it."""
        strata, draws = self._cycle(step // CYCLE)
        return int(strata[step % CYCLE]), int(draws[step % CYCLE])

    def batch(self, step: int) -> Batch:
        """The rows of global batch `step`, in order; rank r of W has rows [r * B / W, (r + 1) * B / W)."""
        index, draw = self.draw(step)
        stratum = self.strata[index]
        members, rows = self._rows(stratum, draw * self.config.batch_size, self.config.batch_size)
        chance = mix(self.config.seed, 3, step, np.arange(self.config.batch_size))
        order = np.argsort(chance, kind="stable")  # streams mixed over the ranks
        members, rows = members[order], rows[order]
        pair = stratum.pair_starts[members] + (mix(1, chance) % stratum.pair_counts[members]).astype(np.int64)
        pairs = stratum.all_pairs[pair]
        return Batch(step, stratum.name, stratum.kind, stratum.stream_array[members], rows, pairs[:, 0], pairs[:, 1])

    def _draw_cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """Stratum and draw number of every step of a cycle, int64 [CYCLE] each."""
        before, after = self._shares.counts(cycle * CYCLE), self._shares.counts((cycle + 1) * CYCLE)
        strata = np.repeat(np.arange(len(before)), after - before)
        strata = strata[np.argsort(mix(self.config.seed, 1, cycle, np.arange(CYCLE)), kind="stable")]
        by_stratum = np.argsort(strata, kind="stable")
        first = np.cumsum(after - before) - (after - before)
        draws = np.empty(CYCLE, dtype=np.int64)
        draws[by_stratum] = np.arange(CYCLE) - first[strata[by_stratum]] + before[strata[by_stratum]]
        return strata, draws

    def _rows(self, stratum: Stratum, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Stream (as a member of the stratum) and row of places start … start + count of its endless sequence."""
        members, rows = [], []
        position, stop = start, start + count
        while position < stop:
            number, place = divmod(position, stratum.rows)
            taken = min(stop - position, stratum.rows - place)
            before, after = stratum.shares.counts(place), stratum.shares.counts(place + taken)
            member = np.repeat(np.arange(len(before)), after - before)
            first = np.cumsum(after - before) - (after - before)
            places = np.arange(taken) + (before - first)[member]
            members.append(member)
            rows.append(self._place(stratum.stream_array[member], stratum.length_array[member], number, places))
            position += taken
        return np.concatenate(members), np.concatenate(rows)

    def _place(self, streams: np.ndarray, lengths: np.ndarray, number: int, places: np.ndarray) -> np.ndarray:
        """The rows at `places` of pass `number` over streams: whole row groups in a new order, and rows within them."""
        group = self.row_group_rows
        blocks = lengths // group
        whole = blocks * group
        key = mix(self.config.seed, 2, streams, number)
        block = permute(places // group, np.maximum(blocks, 1), mix(1, key))
        in_block = block * group + permute(places % group, group, mix(2, key, block))
        in_tail = whole + permute(np.maximum(places - whole, 0), np.maximum(lengths - whole, 1), mix(3, key))
        return np.where(places < whole, in_block, in_tail)


def _chosen_languages(streams: list[Stream], config: PlanConfig) -> tuple[str, ...]:
    there = {language for stream in streams for language in stream.languages}
    for tag in config.languages:
        if languages.normalize(tag) is None:
            raise UserError(f"--languages: {tag} is no known language tag")
        if languages.normalize(tag) not in there:
            raise UserError(f"--languages: the store has no {tag}; it has {', '.join(sorted(there))}")
    return tuple(sorted({str(languages.normalize(tag)) for tag in config.languages} or there))


def _strata(streams: list[Stream], chosen: tuple[str, ...], config: PlanConfig) -> tuple[list[Stratum], list[Stratum]]:
    """The monolingual and the cross-lingual strata, by name."""
    index = {language: position for position, language in enumerate(chosen)}
    monolingual: dict[str, Stratum] = {}
    cross: dict[str, Stratum] = {}
    for number, stream in enumerate(streams):
        for language in stream.monolingual:
            if language in index:
                stratum = monolingual.setdefault(language, Stratum(f"mono:{language}", "monolingual"))
                stratum.add(number, stream.rows, [(index[language], index[language])])
        drawn: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for query, passage in stream.cross_lingual:
            if query in index and passage in index:
                name = "cross" if config.cross_batches == "mixed" else f"cross:{query}-{passage}"
                drawn[name].append((index[query], index[passage]))
        for name, pairs in drawn.items():
            cross.setdefault(name, Stratum(name, "cross-lingual")).add(number, stream.rows, pairs)
    for stratum in (*monolingual.values(), *cross.values()):
        stratum.freeze()
    return (
        [monolingual[key] for key in sorted(monolingual)],
        [cross[key] for key in sorted(cross)],
    )


def _weights(rows: list[int], exponent: float, total: float) -> list[float]:
    """Shares proportional to rows^exponent that sum to `total`."""
    sizes = [float(size) ** exponent for size in rows]
    return [total * size / sum(sizes) for size in sizes]
