"""The plan: which rows make global batch `step`, as a pure function of manifest, settings and step.

A step draws a stratum. The draw takes rows of one direction or, in a mixed batch, a run of rows of each of some. A row
is where its place in the current pass falls. Each is arithmetic: no state, no communication, no history.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hbt_ray import storage
from hbt_ray.batches.draws import SHORT_CYCLE, Draws, annealed, in_shares
from hbt_ray.batches.order import Purpose, Shares, mix, permute, rekey
from hbt_ray.batches.strata import Stratum, chosen_languages, weighted_strata
from hbt_ray.config import PlanConfig
from hbt_ray.data.stores import PairStore
from hbt_ray.data.stream import Stream

VERSION = 6  # of the arithmetic: a change of it, here or in `order`, makes other batches of the same settings
RUNS = 32  # directions in a mixed batch, at least
RUN_ROWS = 64  # of a mixed batch from one direction, at most
SMALL_TOKENS = 2**25  # of a store that read tasks keep in memory, so that any row of it is as near as any other
MIX_ROWS = 1024  # neighbours of a batch that are mixed over the ranks: what is read together stays with few of them
TURN_ROWS = 1024  # that a direction gives before another takes its place, at most: they lie together in the store


class Batches(NamedTuple):
    """Global batches of consecutive steps.

    Attributes:
        start: the first step.
        strata: index in `Plan.strata` of each step, int64 [steps].
        members: index in `Plan.members` of where each row is from, int64 [steps, batch_size].
        rows: number of the row in its member, int64 [steps, batch_size].
    """

    start: int
    strata: np.ndarray
    members: np.ndarray
    rows: np.ndarray


class Plan:
    """The composition of every global batch of a run.

    Attributes:
        languages: all languages of the plan.
        directions: what strata take rows from.
        strata: what batches are made of.
        weights: each stratum's share of the steps, float64 [strata]; where alpha changes, halfway.
        members: all members of all directions, in their order.
        member_languages: languages of the query and the passage of a row of each member, int64 [members, 2].
        turn: how many mixed batches, one after the other, take their rows from the same directions; 1: none is mixed.
        hash: fingerprint that is equal for two plans that give the same batches.
    """

    def __repr__(self) -> str:
        return (
            f"Plan({self.config.strategy}, {len(self.languages)} languages, {len(self.strata)} strata, "
            f"batches of {self.config.batch_size:,}, hash {self.hash})"
        )

    def __init__(self, store: PairStore, config: PlanConfig) -> None:
        """Fix the plan of a run over `store`.

        Raises:
            UserError: the store has no row for what the strategy needs, or not a language or pair that is named.
        """
        self.config = config
        self.identity = {"plan": VERSION, "store": store.identity, **config.model_dump(mode="json", exclude_none=True)}
        self.hash = storage.fingerprint(self.identity)
        self.languages = chosen_languages(store.streams, config)
        self.directions, self.strata, self.weights = weighted_strata(store, self.languages, config)
        self.members = [member for direction in self.directions for member in direction.members]
        self.member_languages = np.array(
            [direction.languages for direction in self.directions for _ in direction.members], dtype=np.int64
        ).reshape(-1, 2)
        self._pairs_of_a_pass = sum(store.streams[stream].rows for stream in {m.query for m in self.members})
        self._rows = Shares([direction.sizes for direction in self.directions])
        self._first = np.cumsum([0, *(len(direction.members) for direction in self.directions)])[:-1]
        self._lengths = np.array([member.rows for member in self.members], dtype=np.int64)
        self._block_rows = np.array([member.block_rows for member in self.members], dtype=np.int64)
        self._blocks = self._lengths // self._block_rows  # whole ones
        self._pass = -(-self._lengths // self._block_rows)  # blocks, the last of them perhaps not whole
        self._steps = _steps(self.strata, self.weights, config)
        self._direction = np.array([stratum.directions[0] for stratum in self.strata])
        mixed = [number for number, stratum in enumerate(self.strata) if len(stratum.directions) > 1]
        self._mixed = mixed[0] if mixed else -1
        self.turn = 1
        if mixed:
            self._parts = np.array(self.strata[mixed[0]].directions)
            sizes = np.array([self.directions[part].size for part in self._parts], dtype=float)
            self._runs_drawn = Draws(config.seed, Purpose.RUN, in_shares(sizes**config.language_exponent))
            members = [member for part in self._parts for member in self.directions[part].members]
            used = {stream for member in members for stream in (member.query, member.passage)}
            streams = [store.streams[number] for number in used]
            self._run_rows, self.turn = _turns(config.batch_size, streams, len(sizes))

    def steps(self, epochs: float) -> int:
        """The number of steps that have as many pairs as `epochs` passes over the rows of the stores that are drawn."""
        return max(1, round(epochs * self._pairs_of_a_pass / self.config.batch_size))

    def stratum(self, step: int) -> Stratum:
        """What the batch of `step` is made of."""
        return self.strata[self._steps.at(np.array([step]))[0][0]]

    def drawn(self, steps: int) -> np.ndarray:
        """How many of the first `steps` draw each stratum, int64 [strata]."""
        return self._steps.counts(steps)

    def taken(self, steps: int) -> np.ndarray:
        """How many rows the first `steps` steps take of each member, int64 [members]."""
        drawn = self.drawn(steps)
        size = self.config.batch_size
        single = np.arange(len(self.strata)) != self._mixed
        directions, begins, ends = self._direction[single], np.zeros(int(single.sum()), np.int64), drawn[single] * size
        if self._mixed >= 0:
            turns, inside = divmod(int(drawn[self._mixed]), self.turn)
            runs = size // self._run_rows
            whole = self._runs_drawn.counts(turns * runs) * self.turn * self._run_rows
            part, before = self._runs_drawn.at(turns * runs + np.arange(runs if inside else 0))
            start = before * self.turn * self._run_rows
            directions = np.concatenate([directions, self._parts, self._parts[part]])
            begins = np.concatenate([begins, np.zeros_like(whole), start])
            ends = np.concatenate([ends, whole, start + inside * self._run_rows])
        _, member, _, taken = self._members_of(directions, begins, ends)
        return np.bincount(member, taken, minlength=len(self.members)).astype(np.int64)

    def batch(self, step: int) -> Batches:
        """The global batch of one step, as `batches` gives it."""
        return self.batches(step, step + 1)

    def batches(self, start: int, stop: int) -> Batches:
        """The global batches of steps start … stop; rank r of W has rows [r * B / W, (r + 1) * B / W) of each."""
        size = self.config.batch_size
        stratum, draw = self._steps.at(np.arange(start, stop))
        chance = mix(self.config.seed, Purpose.PAIR, np.arange(start, stop)[:, None], np.arange(size))
        slot = np.uint64((1 << (size - 1).bit_length()) - 1)
        place = np.arange(size, dtype=np.uint64)
        near = place // np.uint64(MIX_ROWS) << np.uint64(48)
        order = np.sort(near | (chance >> np.uint64(16)) & ~slot | place, axis=1) & slot
        member, row = self._rows_of(*self._runs(stratum, draw))
        mixed = order.astype(np.int64) + np.arange(len(stratum))[:, None] * size
        return Batches(start, stratum, member[mixed], row[mixed])

    def _runs(self, stratum: np.ndarray, draw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the steps take, step after step: of each run the member, its rows taken before, and rows taken now."""
        size = self.config.batch_size
        single = np.flatnonzero(stratum != self._mixed)
        steps, directions, begins, ends = [single], [self._direction[stratum[single]]], [draw[single] * size], []
        ends = [begins[0] + size]
        mixed = np.flatnonzero(stratum == self._mixed)
        if len(mixed):
            runs, turn_rows = size // self._run_rows, self.turn * self._run_rows
            turns, inside = np.divmod(draw[mixed], self.turn)
            part, before = self._runs_drawn.at(np.ravel(turns[:, None] * runs + np.arange(runs)))
            steps.append(np.repeat(mixed, runs))
            directions.append(self._parts[part])
            begins.append(before * turn_rows + np.repeat(inside * self._run_rows, runs))
            ends.append(begins[1] + self._run_rows)
        step = np.concatenate(steps)
        run, *found = self._members_of(*map(np.concatenate, (directions, begins, ends)))
        order = np.lexsort((run, step[run]))
        member, before, taken = (column[order] for column in found)
        return member, before, taken

    def _members_of(
        self, directions: np.ndarray, begins: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What rows begins … ends of directions, int64 [runs] each, take of their members: number of the run, member,
        rows taken of it before, and rows taken, int64 [parts of runs] each."""
        found: list[tuple[np.ndarray, ...]] = []
        depths = self._rows.depth[directions]
        for depth in np.unique(depths).tolist():  # directions with about as many members, all at once
            at = np.flatnonzero(depths == depth)
            both = self._rows.counts(depth, np.tile(directions[at], 2), np.concatenate([begins[at], ends[at]]))
            before, taken = both[: len(at)], both[len(at) :] - both[: len(at)]
            run, leaf = np.nonzero(taken)
            found.append((at[run], leaf + self._first[directions[at]][run], before[run, leaf], taken[run, leaf]))
        run, member, before, taken = map(np.concatenate, zip(*found, strict=True))
        return run, member, before, taken

    def _rows_of(self, member: np.ndarray, before: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Member and row of every row of the runs, int64 [rows]: a pass has the blocks in a new order, and the rows
        within each."""
        length, blocks, a_pass = self._lengths[member], self._blocks[member], self._pass[member]
        size = self._block_rows[member]

        def block_of(index: np.ndarray) -> np.ndarray:
            number, place = np.divmod(index, length)
            return number * a_pass + place // size

        first = block_of(before)
        count = block_of(before + taken - 1) - first + 1
        # a part of a run lies in one row group of one pass
        run = np.repeat(np.arange(len(count)), count)
        member, length, blocks, a_pass, size = member[run], length[run], blocks[run], a_pass[run], size[run]
        number, block = np.divmod(np.arange(len(run)) - (np.cumsum(count) - count - first)[run], a_pass)
        start = number * length + block * size
        tail = block == blocks  # the rows after the last whole block stay at the end of the pass
        span = np.where(tail, length - blocks * size, size)
        begin = np.maximum(before[run] - start, 0)
        rows = np.minimum((before + taken)[run] - start, span) - begin
        key = mix(self.config.seed, Purpose.ROW_GROUP, member, number)
        block = np.where(tail, blocks, permute(np.where(tail, 0, block), np.maximum(blocks, 1), key))
        key = rekey(1, key, block)

        part = np.repeat(np.arange(len(rows)), rows)
        inside = np.arange(len(part)) - (np.cumsum(rows) - rows - begin)[part]
        lengths = span[part] if (span != span[0]).any() else span[0]
        return member[part], (block * size)[part] + permute(inside, lengths, key[part])


def _steps(strata: list[Stratum], weights: np.ndarray, config: PlanConfig) -> Draws:
    """The stratum of every step."""
    monolingual = np.array([stratum.kind == "monolingual" for stratum in strata])
    if config.last_alpha is None or monolingual.all() or not monolingual.any():
        return Draws(config.seed, Purpose.STRATUM, in_shares(weights))
    counts = annealed(weights[monolingual], weights[~monolingual], config)  # the monolingual ones come first
    return Draws(config.seed, Purpose.STRATUM, counts, SHORT_CYCLE)


def _turns(batch_size: int, streams: list[Stream], directions: int) -> tuple[int, int]:
    """How many rows a mixed batch takes of a direction, and for how many batches, one after the other, it does.

    What stays in memory is drawn anew for every batch. Of a larger store, all directions have their turn within half a
    pass over the `streams` that they are in.
    """
    fewest = min(batch_size, max(RUNS, -(-batch_size // RUN_ROWS)))
    runs = next(count for count in range(fewest, batch_size + 1) if batch_size % count == 0)
    run_rows = batch_size // runs
    if sum(sum(stream.tokens) for stream in streams) <= SMALL_TOKENS:
        return run_rows, 1
    turn_rows = min(TURN_ROWS, sum(stream.rows for stream in streams) // (2 * max(directions, runs)))
    return run_rows, max(1, turn_rows // run_rows)
