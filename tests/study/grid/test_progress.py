"""How long a study still takes, from the cells that are done."""

from __future__ import annotations

import pytest

from hbt_ray.study.grid.progress import expected


def test_cells_that_cost_more_take_longer_but_not_only_for_that() -> None:
    done = [(0.001, 61.0), (0.002, 62.0), (0.004, 64.0)]  # a minute to start, and a second for 0.001 hours
    assert expected([0.001, 0.1], done) == pytest.approx(61 + 160, rel=0.01)
    assert expected([], done) == 0


def test_the_first_cell_stands_for_all() -> None:
    assert expected([0.5, 0.5], [(0.5, 100.0)]) == pytest.approx(200)
    assert 100 <= expected([400.0], [(0.5, 100.0)]) <= 80_000
