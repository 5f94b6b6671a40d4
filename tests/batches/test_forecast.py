"""What `--dry-run` says is what the plan then draws."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from stores import Layout, manifest_only

from hbt_ray.batches.forecast import forecast, show_forecast
from hbt_ray.batches.plan import Plan
from hbt_ray.config import PlanConfig

LAYOUT: Layout = [
    ("pairs", ["en"], 4000),
    ("pairs", ["de", "en", "fr"], 570),
    ("bitext", ["de", "ru"], 450),
    ("pairs", ["cy"], 9),
]
LENGTHS = ([0, 0, 5, 0, 1], [0] * 10 + [3, 2, 0, 1])  # queries of 2 or 4 tokens, passages of 10, 11 or 13


def test_counts_are_those_of_the_plan(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, LAYOUT, lengths=LENGTHS)
    plan = Plan(store, PlanConfig(batch_size=16, alpha=0.6))
    steps = 1500
    expected = forecast(store, plan, steps, workers=2)
    drawn = plan.batches(0, steps)
    names = Counter(plan.strata[stratum].name for stratum in drawn.strata)
    assert {stratum.name: stratum.batches for stratum in expected.strata} == names
    streams, passages = (
        np.bincount(np.array(side)[drawn.members.ravel()], minlength=len(store.streams))
        for side in ([member.query for member in plan.members], [member.passage for member in plan.members])
    )
    told = [round(passes * rows) for _, rows, passes in expected.streams]
    assert told == np.maximum(streams, passages).tolist()
    made = np.array([stream.source == "made" for stream in store.streams])
    assert expected.sources == {"made": int(streams[made].sum()), "other": int(streams[~made].sum())}
    assert sum(stratum.tokens for stratum in expected.strata) == pytest.approx(steps * 16 * (14 / 6 + 65 / 6))
    pairs = Counter(map(tuple, plan.member_languages[drawn.members.ravel()].tolist()))
    by_pair = {pair: count for stratum in expected.strata for pair, count in stratum.pairs.items()}
    assert {tuple(map(plan.languages.index, pair)): count for pair, count in by_pair.items() if count} == pairs


def test_padding_is_that_of_slices_drawn_at_random(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, LAYOUT, lengths=LENGTHS)
    plan = Plan(store, PlanConfig(batch_size=16))
    chance = np.random.default_rng(0)
    for workers in (2, 16):
        rows = 16 // workers
        sides = [chance.choice(np.repeat(np.arange(len(counts)), counts), size=(50_000, rows)) for counts in LENGTHS]
        computed = sum(side.max(axis=1).sum() * rows for side in sides)
        simulated = 1 - sum(side.sum() for side in sides) / computed
        for stratum in forecast(store, plan, 100, workers).strata:
            assert stratum.padding == pytest.approx(simulated, abs=0.005)
            assert stratum.means == pytest.approx([side.mean() for side in sides], rel=0.01)
    cut = forecast(store, plan, 100, 1, limits=(2, 10))
    assert all(stratum.padding == pytest.approx(0) for stratum in cut.strata)
    assert sum(stratum.tokens for stratum in cut.strata) == pytest.approx(100 * 16 * 12)


def test_it_warns_of_what_a_user_would_regret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = manifest_only(tmp_path, [*LAYOUT, ("bitext", ["sw", "ru"], 3)])
    result = forecast(store, Plan(store, PlanConfig(batch_size=16)), 1024, workers=1)
    warnings = "\n".join(result.warnings)
    assert "mono:cy: each of its 9 rows is seen 228 times" in warnings
    assert "mono:cy has 9 rows, fewer than a batch of 16" in warnings
    assert "no monolingual batch has ru, sw" in warnings
    assert "no cross-lingual batch has cy" in warnings
    mostly = forecast(store, Plan(store, PlanConfig(batch_size=16, alpha=0.7)), 1024, workers=1)
    assert "source made gives 88% of all pairs" in mostly.warnings
    rare = forecast(store, Plan(store, PlanConfig(batch_size=2, strategy="x-y")), 1, workers=1)
    assert "cross: never drawn: " in "\n".join(rare.warnings)
    pair = Plan(store, PlanConfig(batch_size=16, strategy="x-y", cross_batches="pair", language_exponent=1))
    assert "cross:sw-ru is never drawn in 30 steps" in "\n".join(forecast(store, pair, 30, workers=1).warnings)
    none = forecast(store, Plan(store, PlanConfig(batch_size=16, languages=("de", "en"), strategy="x-x")), 300, 1)
    assert [line for line in none.warnings if "never read" not in line and "source" not in line] == []
    show_forecast(result)
    shown = capsys.readouterr().err
    assert "mono:cy" in shown and "ru:de" in shown and "warning: " in shown


def test_an_epoch_is_a_pass_over_all_strata(tmp_path: Path) -> None:
    plan = Plan(
        manifest_only(tmp_path, [("pairs", ["en"], 400), ("pairs", ["de"], 400)]),
        PlanConfig(batch_size=16, strategy="x-x"),
    )
    assert plan.steps(1) == 50
    result = forecast(manifest_only(tmp_path, [("pairs", ["en"], 400), ("pairs", ["de"], 400)]), plan, plan.steps(2), 1)
    assert [round(passes) for _, _, passes in result.streams] == [2, 2]


def test_a_store_of_many_languages_is_told_in_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    languages = [f"{first}{second}" for first in "abcd" for second in "efghi"]
    store = manifest_only(tmp_path, [("pairs", languages, 30)])
    result = forecast(store, Plan(store, PlanConfig(batch_size=128, strategy="x-y")), 3000, workers=1)
    assert "370 more directions of cross are seen more than 20 times" in result.warnings
    show_forecast(result)
    assert "340 others" in capsys.readouterr().err and len(result.warnings) < 20


def test_a_stream_that_gives_only_passages_is_read(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, [("pairs", ["de", "en"], 100)])
    plan = Plan(store, PlanConfig(batch_size=16, strategy="x-y", pairs=("de:en",)))
    assert not [line for line in forecast(store, plan, 20, workers=1).warnings if "never read" in line]
