"""Whether a score, or a gain of one system over another, scales with the size of the model, and how.

Two laws are fitted by least squares: *no change*, y = c, and *a power law*, y = a (N / N0)^b, where N0 is the geometric
mean of the sizes, so that a is the value in the middle of them and hardly depends on b. `a` is of either sign, as gains
are. Given b, the best a is known in closed form, which leaves one number to search for (Golub and Pereyra 1973,
SIAM J. Numer. Anal. 10, 413-432).

No change is the power law with b = 0, so the extra-sum-of-squares F test decides between them, and the interval of b
are all exponents that this test does not reject, and what lies between (Bates and Watts 1988, Nonlinear Regression
Analysis, chapters 3 and 6): it holds 0 whenever the power law is not preferred. Simulated 400 times with 3, 4 and 5
sizes and 3 seeds each, where nothing scales, the F test calls it scaling in 4 to 6 %, also for a gain of 0, while the
lower AICc (Hurvich and Tsai 1989, Biometrika 76, 297-307) does in 6 to 13 %: hence the F test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from hbt_ray.config import UserError
from hbt_ray.study.significance import LEVEL

NOT_SHOWN = "no scaling shown"
CHANGE = 1e6  # largest factor between the smallest and the largest size that exponents are searched for
STEPS = 200  # on either side of the grid of exponents, on which searches start


class Point(NamedTuple):
    """One run: the size of its model [parameters, or FLOPs], what was measured, and its standard error if known."""

    size: float
    value: float
    error: float | None = None


@dataclass(frozen=True)
class Scaling:
    """Two laws fitted to the same points.

    Attributes:
        what, unit: what the values are, and the unit of the sizes.
        points, sizes: number of points, and of distinct sizes.
        smallest, largest: ends of the sizes.
        constant: c of no change.
        middle: N0, the geometric mean of the points' sizes.
        factor, exponent: a and b of the power law.
        low, high: interval of the exponent at `significance.LEVEL`; infinite where the data set no bound.
        f, p: F of the power law against no change, with 1 and points - 2 degrees of freedom, and its p-value.
        misfit_p: p-value of the test that sizes are as far from the power law as runs of one size are from each other
            (lack of fit and pure error: Draper and Smith 1998, Applied Regression Analysis); None for want of runs.
        shown: whether the power law is preferred.
    """

    what: str
    unit: str
    points: int
    sizes: int
    smallest: float
    largest: float
    constant: float
    middle: float
    factor: float
    exponent: float
    low: float
    high: float
    f: float
    p: float
    misfit_p: float | None
    shown: bool

    def at(self, size: float) -> float:
        """The value at a size by the law that is preferred: the constant where no scaling is shown."""
        return self.factor * float((size / self.middle) ** self.exponent) if self.shown else self.constant

    @property
    def text(self) -> str:
        """What is found, in a sentence."""
        figures = (
            f"exponent {self.exponent:.3f}, {LEVEL:.0%} interval {self.low:.3f} to {self.high:.3f}; "
            f"F(1, {self.points - 2}) = {self.f:.2f}, p = {self.p:.2g}; {self.points} runs of {self.sizes} sizes from "
            f"{self.smallest:.3g} to {self.largest:.3g} {self.unit}"
        )
        if not self.shown:
            return f"{NOT_SHOWN}: {self.what} is {self.constant:.4g} at every size as far as can be told ({figures})."
        said = (
            f"{self.what} is {self.factor:.4g} at {self.middle:.3g} {self.unit} and changes by a factor of "
            f"{2**self.exponent:.3f} with every doubling ({figures})."
        )
        if self.misfit_p is None or self.misfit_p >= 1 - LEVEL:
            return said
        return (
            f"{said} The sizes are further from this law than runs of one size from each other "
            f"(p = {self.misfit_p:.2g}): the models differ by more than their size, and the interval is too narrow."
        )


def fit_scaling(points: Sequence[Point], what: str = "the score", unit: str = "parameters") -> Scaling:
    """Fit both laws; runs of several seeds at one size are several points.

    Where points have standard errors, a point weighs 1 / error², and the errors count in relation to each other only:
    how far points are from the law is still seen in the points.

    Args:
        what: name of the values, for the sentence.
        unit: of the sizes, for the sentence.

    Raises:
        UserError: fewer than three sizes, a size or an error that is not above 0, a value that is no number, or errors
            of some points only.
    """
    size, value, weight = _columns(points)
    distinct = np.unique(size)
    if len(distinct) < 3:
        raise UserError(f"how {what} scales needs three sizes or more, not {len(distinct)}")
    places = np.log(size)
    middle = float(places.mean())
    residual = _profile(places - middle, value, weight)
    limit = float(np.log(CHANGE) / np.ptp(places))
    exponent = _lowest(residual, limit)
    least, flat = residual(exponent), residual(0.0)
    variance = least / (len(points) - 2)
    f = (flat - least) / variance if variance else float(np.inf if flat > least else 0.0)
    bound = least + variance * float(stats.f.ppf(LEVEL, 1, len(points) - 2))
    low, high = (_end(residual, exponent, side * limit, bound) for side in (-1, 1))
    return Scaling(
        what=what,
        unit=unit,
        points=len(points),
        sizes=len(distinct),
        smallest=float(distinct[0]),
        largest=float(distinct[-1]),
        constant=float(np.average(value, weights=weight)),
        middle=float(np.exp(middle)),
        factor=_factor(exponent, places - middle, value, weight),
        exponent=exponent,
        low=low,
        high=high,
        f=f,
        p=float(stats.f.sf(f, 1, len(points) - 2)),
        misfit_p=_misfit(size, value, weight, least),
        shown=flat > bound and not low <= 0 <= high,
    )


def _columns(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sizes, values and weights, float64 [points] each; the weights' mean is 1."""
    with_error = [point for point in points if point.error is not None]
    if len(with_error) not in (0, len(points)):
        raise UserError(f"{len(with_error)} of {len(points)} points have a standard error: give all of them, or none")
    for point in points:
        if not (np.isfinite(point.value) and 0 < point.size < np.inf and (point.error is None or point.error > 0)):
            raise UserError(f"{point} cannot be fitted: its size and error are to be above 0, its value a number")
    weight = np.array([1.0 if point.error is None else point.error**-2 for point in points])
    size, value = (np.array([point[column] for point in points], dtype=np.float64) for column in (0, 1))
    return size, value, weight / weight.mean() if len(weight) else weight


def _curve(exponent: float, places: np.ndarray) -> np.ndarray:
    """The power law up to its factor, at most 1, float64 [points]; `places` are logarithms of N / N0."""
    curve: np.ndarray = np.exp(exponent * places - np.max(exponent * places))
    return curve


def _factor(exponent: float, places: np.ndarray, value: np.ndarray, weight: np.ndarray) -> float:
    curve = np.exp(exponent * places)
    return float((weight * curve) @ value / ((weight * curve) @ curve))


def _profile(places: np.ndarray, value: np.ndarray, weight: np.ndarray) -> Callable[[float], float]:
    """The weighted sum of squared residuals of the best law with a given exponent; 0 where it is but rounding."""
    rounding = 1e-26 * float(weight @ value**2)

    def residual(exponent: float) -> float:
        curve = _curve(exponent, places)
        best = (weight * curve) @ value / ((weight * curve) @ curve) * curve
        found = float(weight @ (value - best) ** 2)
        return found if found > rounding else 0.0

    return residual


def _lowest(residual: Callable[[float], float], limit: float) -> float:
    """The exponent with the least residual, the one next to 0 of several: the best of a grid, between whose neighbours
    it is searched for."""
    step = limit / STEPS
    best = step * min(range(-STEPS, STEPS + 1), key=lambda number: (residual(step * number), abs(number)))
    around = (best - step, best + step)
    found = optimize.minimize_scalar(residual, bounds=around, method="bounded", options={"xatol": 1e-10})
    return min((best, float(found.x)), key=residual)


def _end(residual: Callable[[float], float], exponent: float, limit: float, bound: float) -> float:
    """The exponent furthest from the best one towards `limit` whose residual is at most `bound`; else infinite.

    The furthest, and not the first to pass the bound: values that fall and rise again have two good exponents, and the
    interval is to hold all that lies between.
    """
    outside = limit
    if residual(limit) <= bound:
        return float(np.copysign(np.inf, limit))
    for place in np.linspace(limit, exponent, STEPS + 1)[1:]:
        if residual(place) <= bound:
            return float(optimize.brentq(lambda at: residual(at) - bound, outside, place))
        outside = place
    return exponent


def _misfit(size: np.ndarray, value: np.ndarray, weight: np.ndarray, least: float) -> float | None:
    _, group = np.unique(size, return_inverse=True)
    sums = np.bincount(group, weight)
    means = np.bincount(group, weight * value) / sums
    pure = float(weight @ (value - means[group]) ** 2)
    between, within = len(sums) - 2, len(size) - len(sums)
    if within == 0 or pure == 0:
        return None
    return float(stats.f.sf((least - pure) / between / (pure / within), between, within))
