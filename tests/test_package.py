"""The package's public face."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import hbt_ray


def test_every_name_is_there() -> None:
    for name in hbt_ray.__all__:
        assert callable(getattr(hbt_ray, name))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = hbt_ray.absent  # type: ignore[attr-defined]


def test_it_says_what_it_has() -> None:
    assert set(hbt_ray.__all__) <= set(dir(hbt_ray))
    assert hbt_ray.__version__ == version("hbt-ray")


def test_looking_at_a_plan_loads_no_framework() -> None:
    code = "import sys, hbt_ray; hbt_ray.Plan, hbt_ray.StreamStore; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
