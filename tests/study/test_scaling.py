"""How a score scales with size: the interval's coverage and the error rate, in simulation with realistic sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hbt_ray.config import UserError
from hbt_ray.study.scaling import NOT_SHOWN, Point, Scaling, fit_scaling

SIZES = np.repeat([118e6, 278e6, 560e6, 278e6, 3.5e9], 3)  # e5-small, XLM-R base and large, another base, XLM-R XL
SIMULATIONS = 100


def simulated(seed: int, gain: float, exponent: float, noise: float = 0.004) -> Scaling:
    """The fit of gains in mAP of three seeds a model."""
    rng = np.random.default_rng([11, seed])
    values = gain * (SIZES / 5e8) ** exponent + rng.normal(0, noise, len(SIZES))
    return fit_scaling([Point(size, value) for size, value in zip(SIZES, values, strict=True)], "the gain")


@pytest.mark.parametrize(
    ("gain", "exponent"), [(0.02, 0.2), (0.02, 0.1), (0.02, -0.3), (-0.01, 0.3), (0.6, 0.02), (0.02, 0.0)]
)
def test_the_interval_holds_the_exponent(gain: float, exponent: float) -> None:
    fits = [simulated(seed, gain, exponent) for seed in range(SIMULATIONS)]
    assert sum(fit.low <= exponent <= fit.high for fit in fits) >= 90


@pytest.mark.parametrize("gain", [0.02, 0.005, 0.0, -0.02])
def test_no_scaling_is_said_where_there_is_none(gain: float) -> None:
    fits = [simulated(seed, gain, 0.0) for seed in range(SIMULATIONS)]
    assert sum(fit.text.startswith(NOT_SHOWN) for fit in fits) >= 90
    assert all(fit.shown == (not fit.text.startswith(NOT_SHOWN)) == (not fit.low <= 0 <= fit.high) for fit in fits)


@pytest.mark.parametrize(("gain", "exponent"), [(0.02, 0.3), (-0.02, 0.3), (0.02, -0.3)])
def test_scaling_is_found_where_it_is(gain: float, exponent: float) -> None:
    fits = [simulated(seed, gain, exponent) for seed in range(SIMULATIONS)]
    assert sum(fit.shown for fit in fits) >= 90
    assert np.median([fit.exponent for fit in fits]) == pytest.approx(exponent, abs=0.03)
    assert np.median([fit.factor * (5e8 / fit.middle) ** exponent for fit in fits]) == pytest.approx(gain, abs=0.001)


def test_a_law_without_noise_is_found_again() -> None:
    fit = fit_scaling([Point(size, -0.03 * (size / 1e9) ** 0.25) for size in (1e8, 1e9, 1e10)])
    assert [fit.exponent, fit.factor, fit.middle] == pytest.approx([0.25, -0.03, 1e9])
    assert fit.at(1e11) == pytest.approx(-0.03 * 100**0.25)
    assert fit.shown
    assert "-0.03 at 1e+09 parameters and changes by a factor of 1.189 with every doubling" in fit.text


@pytest.mark.parametrize("value", [0.7, 0.0])
def test_equal_values_do_not_scale(value: float) -> None:
    fit = fit_scaling([Point(size, value) for size in SIZES], "mAP")
    assert [fit.exponent, fit.p, fit.constant] == pytest.approx([0, 1, value])
    assert fit.at(1e12) == pytest.approx(value)
    assert fit.text.startswith(f"no scaling shown: mAP is {value:g} at every size")


def test_values_that_fall_and_rise_again_have_no_law() -> None:
    fit = fit_scaling([Point(size, value) for size, value in ((1e8, 3.0), (1e9, 1.0), (1e10, 3.1))])
    assert not fit.shown
    assert fit.low == -np.inf
    assert fit.high == np.inf


def test_errors_weigh_points_and_their_unit_does_not_matter() -> None:
    law = [(size, 0.02 * (size / 5e8) ** 0.2) for size in SIZES]
    points = [Point(size, value, 0.001) for size, value in law] + [Point(3.5e9, 0.005, 0.1)]
    assert fit_scaling(points).exponent == pytest.approx(0.2, abs=1e-3)
    assert fit_scaling([point._replace(error=None) for point in points]).exponent < 0.15
    noisy = [Point(size, value + shift, error) for (size, value), shift, error in
             zip(law, np.resize([0.001, -0.002, 0.0005], 15), np.resize([0.001, 0.003], 15), strict=True)]  # fmt: skip
    once, again = fit_scaling(noisy), fit_scaling([point._replace(error=10 * (point.error or 0)) for point in noisy])
    for mine, theirs in zip(dataclasses.astuple(once), dataclasses.astuple(again), strict=True):
        assert mine == (theirs if isinstance(mine, str) else pytest.approx(theirs, rel=1e-4))


def test_models_that_differ_by_more_than_size_are_told() -> None:
    rng = np.random.default_rng(0)
    values = {118e6: 0.010, 278e6: 0.030, 560e6: 0.018, 3.5e9: 0.035}
    points = [Point(size, value + rng.normal(0, 0.001)) for size, value in values.items() for _ in range(3)]
    fit = fit_scaling(points, "the gain")
    assert fit.misfit_p is not None
    assert fit.misfit_p < 0.01
    assert "the models differ by more than their size" in fit.text
    assert fit_scaling(points[::3]).misfit_p is None


def test_what_cannot_be_fitted() -> None:
    point = Point(1e8, 0.1, 0.01)
    for points, message in (
        ([point, point, point._replace(size=2e8)], "how the gain scales needs three sizes or more, not 2"),
        ([], "three sizes or more, not 0"),
        ([point, point._replace(error=None)], "1 of 2 points have a standard error"),
        ([point._replace(size=0)], "size and error are to be above 0"),
        ([point._replace(error=0)], "size and error are to be above 0"),
        ([point._replace(value=float("nan"))], "its value a number"),
    ):
        with pytest.raises(UserError, match=message):
            fit_scaling(points, "the gain")
