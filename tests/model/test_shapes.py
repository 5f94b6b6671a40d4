"""What is known of an encoder without torch: its size, and what its arithmetic costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hbt_ray.model.flops import transformer_flops
from hbt_ray.model.shapes import SIZES

XLM_R = 250_002  # pieces


@pytest.mark.parametrize(("size", "parameters"), [("base", 278_043_648), ("large", 559_890_432)])
def test_parameters_of_xlm_r(size: str, parameters: int) -> None:
    assert SIZES[size].parameters(XLM_R) == parameters  # as the hub counts those of FacebookAI/xlm-roberta-*


def test_a_backward_pass_is_twice_a_forward_pass_and_half_of_it_for_frozen_weights() -> None:
    forward = transformer_flops(1000, 24, 10, 60, backward=False)
    assert forward == 2 * 1000 * 10 + 4 * 24 * 60
    assert transformer_flops(1000, 24, 10, 60) == 3 * forward
    assert transformer_flops(600, 24, 10, 60, frozen=400) == 3 * forward - 2 * 400 * 10
    assert transformer_flops(600, 24, 10, 60, backward=False, frozen=400) == forward


def test_nothing_here_loads_torch() -> None:
    code = "import sys, hbt_ray.model.flops, hbt_ray.model.shapes; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
