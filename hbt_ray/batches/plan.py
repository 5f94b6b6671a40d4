"""The plan: which rows make global batch `step`, as a pure function of manifest, settings and step.

A step draws a stratum, a draw takes the stratum's next `batch_size` rows, and a row is where its place in the current
pass falls. Each is arithmetic: no state, no communication, no history (design, invariants 5 to 9).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from hbt_ray import storage
from hbt_ray.batches.order import LONGEST, Purpose, Shares, mix, permute, rekey
from hbt_ray.batches.strata import Stratum, chosen_languages, strata
from hbt_ray.config import PlanConfig, UserError
from hbt_ray.data.streams import StreamStore

VERSION = 4  # of the arithmetic: a change of it, here or in `order`, makes other batches of the same settings
VERSION_OF_SEED_0 = 3  # seed 0 has the batches of before: only other seeds were not apart from each other
CYCLE = 1024  # steps over which every stratum gets its share; their order within is random
WEIGHT_UNITS = 2**30  # resolution of the strata's shares
_HALF, _LOW_HALF = np.uint64(32), np.uint64(2**32 - 1)


class Batches(NamedTuple):
    """Global batches of consecutive steps.

    Attributes:
        start: the first step.
        strata: index in `Plan.strata` of each step, int64 [steps].
        streams: index of each row's stream in the store, int64 [steps, batch_size].
        rows: number of the row in its stream, int64 [steps, batch_size].
        query_languages, passage_languages: index in `Plan.languages`, int64 [steps, batch_size].
    """

    start: int
    strata: np.ndarray
    streams: np.ndarray
    rows: np.ndarray
    query_languages: np.ndarray
    passage_languages: np.ndarray


class Plan:
    """The composition of every global batch of a run.

    Attributes:
        languages: all languages of the plan; a batch names them by index.
        strata: what batches are made of.
        weights: each stratum's share of the steps, float64 [strata].
        hash: fingerprint that is equal for two plans that give the same batches.
    """

    def __repr__(self) -> str:
        return (
            f"Plan({self.config.strategy}, {len(self.languages)} languages, {len(self.strata)} strata, "
            f"batches of {self.config.batch_size:,}, hash {self.hash})"
        )

    def __init__(self, store: StreamStore, config: PlanConfig) -> None:
        """Fix the plan of a run over `store`.

        Raises:
            UserError: the store has no row for what the strategy needs, or not a language or pair that is named.
        """
        self.config = config
        version = VERSION if config.seed else VERSION_OF_SEED_0
        self.identity = {"plan": version, "store": store.manifest["checksum"], **config.model_dump(mode="json")}
        self.hash = storage.fingerprint(self.identity)
        self.languages = chosen_languages(store.streams, config)
        self.strata, self.weights = _weighted(store, self.languages, config)
        units = np.maximum(np.round(self.weights * WEIGHT_UNITS).astype(np.int64), 1)
        self._steps = Shares([units])
        self._rows = Shares([np.array(stratum.lengths, dtype=np.int64) for stratum in self.strata])
        # one entry a member, that is a stream of a stratum
        self._first = np.cumsum([0, *(len(stratum.streams) for stratum in self.strata)])[:-1]
        self._streams = np.concatenate([stratum.streams for stratum in self.strata])
        self._lengths = np.concatenate([stratum.lengths for stratum in self.strata])
        self._block_rows = store.row_group_rows
        self._blocks = self._lengths // self._block_rows  # whole row groups
        self._pass = -(-self._lengths // self._block_rows)  # row groups, the last of them perhaps not whole
        counts = [len(pairs) for stratum in self.strata for pairs in stratum.pairs]
        self._pair_counts = np.array(counts, dtype=np.uint64)
        self._first_pair = np.cumsum([0, *counts])[:-1]
        pairs = [pair for stratum in self.strata for pairs in stratum.pairs for pair in pairs]
        self._pair_languages = np.array(pairs, dtype=np.int64).T.copy()  # query languages, passage languages
        self._cycle: Callable[[int], tuple[np.ndarray, np.ndarray]] = lru_cache(maxsize=8)(self._draw_cycle)

    def steps(self, epochs: float) -> int:
        """The number of steps that have as many pairs as `epochs` passes over all strata."""
        return max(1, round(epochs * int(self._lengths.sum()) / self.config.batch_size))

    def stratum(self, step: int) -> Stratum:
        """What the batch of `step` is made of."""
        return self.strata[self._cycle(step // CYCLE)[0][step % CYCLE]]

    def draws(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The index of each step's stratum, and how many earlier steps drew that stratum, int64 [steps] each."""
        cycles = [self._cycle(cycle) for cycle in range(start // CYCLE, (stop - 1) // CYCLE + 1)]
        offset = start // CYCLE * CYCLE
        both = np.concatenate([np.stack(cycle) for cycle in cycles], axis=1)[:, start - offset : stop - offset]
        return both[0], both[1]

    def drawn(self, steps: int) -> np.ndarray:
        """How many of the first `steps` draw each stratum, int64 [strata]."""
        before = self._steps_of(steps // CYCLE * CYCLE)
        if steps % CYCLE == 0:
            return before
        return before + np.bincount(self._cycle(steps // CYCLE)[0][: steps % CYCLE], minlength=len(self.strata))

    def taken(self, stratum: int, rows: int) -> np.ndarray:
        """How many of the first `rows` rows of a stratum come from each of its streams, int64 [streams]."""
        number = np.array([stratum])
        counts = self._rows.counts(int(self._rows.depth[stratum]), number, np.array([rows]))
        return counts[0, : len(self.strata[stratum].streams)]

    def batch(self, step: int) -> Batches:
        """The global batch of one step, as `batches` gives it."""
        return self.batches(step, step + 1)

    def batches(self, start: int, stop: int) -> Batches:
        """The global batches of steps start … stop; rank r of W has rows [r * B / W, (r + 1) * B / W) of each."""
        size = self.config.batch_size
        stratum, draw = self.draws(start, stop)
        chance = mix(self.config.seed, Purpose.PAIR, np.arange(start, stop)[:, None], np.arange(size))
        slot = np.uint64((1 << (size - 1).bit_length()) - 1)
        order = np.sort((chance & ~slot) | np.arange(size, dtype=np.uint64), axis=1) & slot
        place, runs = self._runs(stratum, draw)
        member, row = self._rows_of(*runs)
        mixed = order.astype(np.int64) + place[:, None] * size  # streams mixed over the ranks
        member, row = member[mixed], row[mixed]
        pair = ((chance & _LOW_HALF) * self._pair_counts[member] >> _HALF).astype(np.int64) + self._first_pair[member]
        query, passage = (of_pair[pair] for of_pair in self._pair_languages)
        return Batches(start, stratum, self._streams[member], row, query, passage)

    def _draw_cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """Stratum and draw number of every step of a cycle, int64 [CYCLE] each."""
        before, after = self._steps_of(cycle * CYCLE), self._steps_of((cycle + 1) * CYCLE)
        stratum = np.repeat(np.arange(len(before)), after - before)
        stratum = stratum[np.argsort(mix(self.config.seed, Purpose.STRATUM, cycle, np.arange(CYCLE)), kind="stable")]
        by_stratum = np.argsort(stratum, kind="stable")
        first = np.cumsum(after - before) - (after - before)
        draw = np.empty(CYCLE, dtype=np.int64)
        draw[by_stratum] = np.arange(CYCLE) - first[stratum[by_stratum]] + before[stratum[by_stratum]]
        return stratum, draw

    def _steps_of(self, steps: int) -> np.ndarray:
        """How many of the first `steps`, a multiple of CYCLE, each stratum gets, int64 [strata]."""
        return self._steps.counts(int(self._steps.depth[0]), np.zeros(1, np.int64), np.array([steps]))[
            0, : len(self.strata)
        ]

    def _runs(self, stratum: np.ndarray, draw: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """What each step takes of each member: where the step's rows begin, in batches, int64 [steps], and of each run,
        in that order: member, its rows taken before, and rows taken now, int64 [runs]."""
        size = self.config.batch_size
        place = np.empty_like(stratum)
        found: list[tuple[np.ndarray, ...]] = []
        depths = self._rows.depth[stratum]
        done = 0
        for depth in np.unique(depths).tolist():  # strata with about as many streams, all at once
            at = np.flatnonzero(depths == depth)
            place[at] = np.arange(done, done + len(at))
            done += len(at)
            both = self._rows.counts(depth, np.tile(stratum[at], 2), np.concatenate([draw[at], draw[at] + 1]) * size)
            before, taken = both[: len(at)], both[len(at) :] - both[: len(at)]
            step, leaf = np.nonzero(taken)
            found.append((leaf + self._first[stratum[at]][step], before[step, leaf], taken[step, leaf]))
        return place, tuple(map(np.concatenate, zip(*found, strict=True)))

    def _rows_of(self, member: np.ndarray, before: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Member and row of every row of the runs, int64 [rows]: a pass has the row groups in a new order, and the rows
        within each."""
        length, blocks, a_pass = self._lengths[member], self._blocks[member], self._pass[member]

        def block_of(index: np.ndarray) -> np.ndarray:
            number, place = np.divmod(index, length)
            return number * a_pass + place // self._block_rows

        first = block_of(before)
        count = block_of(before + taken - 1) - first + 1
        # a part of a run lies in one row group of one pass
        run = np.repeat(np.arange(len(count)), count)
        member, length, blocks, a_pass = member[run], length[run], blocks[run], a_pass[run]
        number, block = np.divmod(np.arange(len(run)) - (np.cumsum(count) - count - first)[run], a_pass)
        start = number * length + block * self._block_rows
        tail = block == blocks  # the rows after the last whole row group stay at the end of the pass
        span = np.where(tail, length - blocks * self._block_rows, self._block_rows)
        begin = np.maximum(before[run] - start, 0)
        rows = np.minimum((before + taken)[run] - start, span) - begin
        key = mix(self.config.seed, Purpose.ROW_GROUP, member, number)
        block = np.where(tail, blocks, permute(np.where(tail, 0, block), np.maximum(blocks, 1), key))
        key = rekey(1, key, block)

        part = np.repeat(np.arange(len(rows)), rows)
        inside = np.arange(len(part)) - (np.cumsum(rows) - rows - begin)[part]
        lengths = span[part] if tail.any() else np.array(self._block_rows)
        return member[part], (block * self._block_rows)[part] + permute(inside, lengths, key[part])


def _weighted(store: StreamStore, languages: tuple[str, ...], config: PlanConfig) -> tuple[list[Stratum], np.ndarray]:
    """The strata that are drawn, and the share of steps of each."""
    monolingual, cross = strata(store.streams, languages, config)
    alpha = {"x-x": 1.0, "x-y": 0.0, "hybrid": config.alpha}[config.strategy]
    if alpha > 0 and not monolingual:
        raise UserError(f"--strategy {config.strategy}: {store.uri} has no monolingual pair in these languages")
    if alpha < 1 and not cross:
        raise UserError(
            f"--strategy {config.strategy}: {store.uri} has no translations, so no cross-lingual batch can be drawn"
        )
    shares = [
        *_shares([stratum.rows for stratum in monolingual], config.language_exponent, alpha),
        *_shares([stratum.rows for stratum in cross], config.language_exponent, 1 - alpha),
    ]
    kept = [(stratum, share) for stratum, share in zip([*monolingual, *cross], shares, strict=True) if share > 0]
    for stratum, _ in kept:
        if stratum.rows > LONGEST:
            raise UserError(f"stratum {stratum.name} has {stratum.rows} rows; at most {LONGEST} are supported")
    return [stratum for stratum, _ in kept], np.array([share for _, share in kept])


def _shares(rows: list[int], exponent: float, total: float) -> list[float]:
    """Shares proportional to rows^exponent that sum to `total`."""
    sizes = [float(size) ** exponent for size in rows]
    return [total * size / sum(sizes) for size in sizes]
