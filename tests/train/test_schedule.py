"""The learning rate of every step: transformers' schedules are the truth after the warm-up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup, get_wsd_schedule

from hbt_ray.config import EncoderConfig, OptimizerConfig, TrainConfig
from hbt_ray.train.schedule import learning_rate

SCHEDULES = ("linear", "cosine", "wsd")


def theirs(schedule: str, warmup: int, decay: int, steps: int) -> Callable[[int], float]:
    """The factor of the peak that transformers has for a step."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    if schedule == "wsd":
        found = get_wsd_schedule(optimizer, warmup, decay, steps, decay_type="linear")
    else:
        make = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}[schedule]
        found = make(optimizer, warmup, steps)
    (factor,) = found.lr_lambdas
    return factor


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_after_the_warm_up_are_those_of_transformers(schedule: str) -> None:
    config = OptimizerConfig.model_validate({"schedule": schedule, "warmup": 0.2, "decay": 0.3, "learning_rate": 0.5})
    factor = theirs(schedule, 10, 15, 50)
    for step in range(10, 50):
        assert learning_rate(step, 50, config) == pytest.approx(0.5 * factor(step)), step
    assert [learning_rate(step, 50, config) for step in (0, 4, 9)] == pytest.approx([0.5 / 11, 2.5 / 11, 5 / 11])


@given(st.sampled_from(SCHEDULES), st.floats(0, 0.5), st.floats(0.01, 0.5), st.integers(1, 300))
def test_rates_rise_to_the_peak_and_fall_from_it(schedule: str, warmup: float, decay: float, steps: int) -> None:
    config = OptimizerConfig.model_validate({"schedule": schedule, "warmup": warmup, "decay": decay})
    rates = [learning_rate(step, steps, config) for step in range(steps)]
    peak = int(warmup * steps)
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(0 < rate <= config.learning_rate for rate in rates)
    assert rates[peak] == pytest.approx(config.learning_rate)


def test_more_than_all_steps_are_refused() -> None:
    optimizer = OptimizerConfig(schedule="wsd", warmup=0.5, decay=0.6)
    with pytest.raises(ValueError, match=r"--warmup 0\.5 and --decay 0\.6 are more than all steps"):
        TrainConfig(data="/d", out="/o", steps=1, encoder=EncoderConfig(model="nano"), optimizer=optimizer)
