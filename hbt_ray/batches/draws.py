"""Draws: what each of an endless sequence of them takes, in shares that every cycle of them keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hbt_ray.batches.order import Purpose, Shares, mix
from hbt_ray.config import PlanConfig

CYCLE = 1024  # draws over which everything that is drawn gets its share; the order within is random
SHORT_CYCLE = 64  # the same where shares change from cycle to cycle
WEIGHT_UNITS = 2**30  # resolution of shares
Counts = Callable[[int], np.ndarray]


class Draws:
    """A sequence of draws. Which thing a draw takes is a function of its number, as is how often that was taken before.

    Attributes:
        things: how many there are to take.
    """

    def __init__(self, seed: int, purpose: Purpose, counts: Counts, cycle: int = CYCLE) -> None:
        """Fix the sequence.

        Args:
            counts: how often the first so many draws, whole cycles, take each thing, int64 [things]; of more draws, no
                count is less.
            cycle: draws whose order among themselves is random.
        """
        self._seed = seed
        self._purpose = purpose
        self._whole = counts
        self._length = cycle
        self.things = len(counts(0))
        self._cycle: Callable[[int], tuple[np.ndarray, np.ndarray]] = lru_cache(maxsize=32)(self._draw_cycle)

    def at(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each of the draws `numbers`, int64 [draws] ascending, takes, and how often that was drawn before."""
        if not len(numbers):
            return numbers, numbers
        first, last = int(numbers[0]) // self._length, int(numbers[-1]) // self._length
        cycles = [np.stack(self._cycle(cycle)) for cycle in range(first, last + 1)]
        both = np.concatenate(cycles, axis=1)[:, numbers - first * self._length]
        return both[0], both[1]

    def counts(self, draws: int) -> np.ndarray:
        """How often the first `draws` draws take each thing, int64 [things]."""
        cycle, inside = divmod(draws, self._length)
        before = self._whole(cycle * self._length)
        if not inside:
            return before
        return before + np.bincount(self._cycle(cycle)[0][:inside], minlength=self.things)

    def _draw_cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """What every draw of a cycle takes, and how often that was drawn before, int64 [cycle] each."""
        before, after = (self._whole((cycle + number) * self._length) for number in (0, 1))
        taken = np.repeat(np.arange(self.things), after - before)
        taken = taken[np.argsort(mix(self._seed, self._purpose, cycle, np.arange(self._length)), kind="stable")]
        ordered = np.argsort(taken, kind="stable")
        first = np.cumsum(after - before) - (after - before)
        draw = np.empty(self._length, dtype=np.int64)
        draw[ordered] = np.arange(self._length) - first[taken[ordered]] + before[taken[ordered]]
        return taken, draw


def in_shares(weights: np.ndarray) -> Counts:
    """Counts in proportion to the weights, float64 [things], of which some is greater than 0."""
    units = np.maximum(np.round(weights / weights.sum() * WEIGHT_UNITS).astype(np.int64), 1)
    shares = Shares([units])
    sequence, depth = np.zeros(1, np.int64), int(shares.depth[0])

    def counts(draws: int) -> np.ndarray:
        found: np.ndarray = shares.counts(depth, sequence, np.array([draws]))[0, : len(units)]
        return found

    return counts


def annealed(monolingual: np.ndarray, cross: np.ndarray, config: PlanConfig) -> Counts:
    """Counts of strata, the monolingual ones first, of which these together get a share that changes with the step.

    Args:
        monolingual, cross: shares of strata among those of their kind, float64 [strata of the kind].
    """
    own, others = in_shares(monolingual), in_shares(cross)

    def counts(draws: int) -> np.ndarray:
        first = monolingual_steps(config, draws)
        return np.concatenate([own(first), others(draws - first)])

    return counts


def monolingual_steps(config: PlanConfig, steps: int) -> int:
    """How many of the first `steps` steps are monolingual, where alpha goes in a straight line from `alpha` at step 0
    to `last_alpha` at step `alpha_steps` and stays there: the integral over the steps, rounded."""
    assert config.last_alpha is not None and config.alpha_steps is not None
    going = min(steps, config.alpha_steps)
    mean = config.alpha + (config.last_alpha - config.alpha) * going / (2 * config.alpha_steps)
    return int(going * mean + (steps - going) * config.last_alpha + 0.5)
