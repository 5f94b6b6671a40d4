"""What a plan promises (design, invariants 5 to 9), on stores that are a manifest alone."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import Layout, manifest_only

from hbt_ray.batches.plan import CYCLE, Batch, Plan
from hbt_ray.config import PlanConfig, UserError

LAYOUT: Layout = [
    ("pairs", ["en"], 100),
    ("pairs", ["de"], 33),
    ("pairs", ["de", "en", "fr"], 57),
    ("bitext", ["de", "en", "ru"], 45),
    ("cross-lingual", ["sw", "en"], 1),
]

layouts = st.lists(
    st.one_of(
        st.tuples(st.just("pairs"), st.lists(st.sampled_from(["de", "en", "fr", "ja"]), min_size=1, unique=True)),
        st.tuples(st.just("bitext"), st.lists(st.sampled_from(["de", "en", "ru"]), min_size=2, unique=True)),
    ),
    min_size=1,
    max_size=5,
).flatmap(
    lambda streams: st.tuples(*(st.integers(1, 60) for _ in streams)).map(
        lambda sizes: [(kind, sorted(languages), rows) for (kind, languages), rows in zip(streams, sizes, strict=True)]
    )
)


def languages_of(plan: Plan, batch: Batch) -> tuple[set[str], set[str]]:
    names = np.array(plan.languages)
    return set(names[batch.query_languages]), set(names[batch.passage_languages])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=layouts,
    strategy=st.sampled_from(["x-x", "x-y", "hybrid"]),
    batch_size=st.integers(2, 40),
    seed=st.integers(0, 5),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
    cross_batches=st.sampled_from(["mixed", "pair"]),
)
def test_batches_of_any_store(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Layout,
    strategy: str,
    batch_size: int,
    seed: int,
    exponent: float,
    cross_batches: str,
) -> None:
    store = manifest_only(tmp_path_factory.mktemp("store"), layout)
    settings_ = {"strategy": strategy, "batch_size": batch_size, "seed": seed, "language_exponent": exponent}
    config = PlanConfig.model_validate({**settings_, "cross_batches": cross_batches})
    try:
        plan = Plan(store, config)
    except UserError as error:
        assert "monolingual" in str(error) or "translations" in str(error)
        return
    taken: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for step in range(60):
        batch = plan.batch(step)
        assert len(batch.rows) == batch_size
        for stream, row in zip(batch.streams, batch.rows, strict=True):
            assert 0 <= row < store.streams[stream].rows
        query, passage = languages_of(plan, batch)
        pairs = set(zip(batch.query_languages.tolist(), batch.passage_languages.tolist(), strict=True))
        if batch.kind == "monolingual":
            assert strategy != "x-y"
            assert query == passage and len(query) == 1
            assert batch.stratum == f"mono:{query.pop()}"
        else:
            assert strategy != "x-x"
            assert all(one != other for one, other in pairs)
            assert len(pairs) == 1 or cross_batches == "mixed"
        taken[batch.stratum].update(zip(batch.streams.tolist(), batch.rows.tolist(), strict=True))
    for stratum in plan.strata:  # within a pass no row comes twice before every row has come once
        counts = taken[stratum.name]
        if counts:
            passes = sum(counts.values()) / stratum.rows
            assert max(counts.values()) <= int(np.ceil(passes))
            assert len(counts) == stratum.rows or passes < 1
            assert min(counts.values()) >= int(passes) or len(counts) < stratum.rows


def test_every_row_once_per_pass(tmp_path: Path) -> None:
    plan = Plan(manifest_only(tmp_path, LAYOUT), PlanConfig(batch_size=16))
    english = next(stratum for stratum in plan.strata if stratum.name == "mono:en")
    batches = [plan.batch(step) for step in range(4000)]
    drawn = [batch for batch in batches if batch.stratum == "mono:en"][: english.rows]  # 16 passes of 157 rows
    counts = Counter((int(s), int(r)) for batch in drawn for s, r in zip(batch.streams, batch.rows, strict=True))
    assert set(counts.values()) == {16}
    assert len(counts) == 157


def test_order_differs_from_pass_to_pass(tmp_path: Path) -> None:
    plan = Plan(manifest_only(tmp_path, [("pairs", ["en"], 64)], 8), PlanConfig(strategy="x-x", batch_size=16))
    passes = [[frozenset(plan.batch(step).rows.tolist()) for step in range(start, start + 4)] for start in (0, 4, 8)]
    assert all(len(frozenset().union(*batches)) == 64 for batches in passes)
    assert len({frozenset(batches) for batches in passes}) == 3


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8])
def test_share_of_monolingual_batches_is_alpha(tmp_path: Path, alpha: float) -> None:
    plan = Plan(manifest_only(tmp_path, LAYOUT), PlanConfig(batch_size=4, alpha=alpha, seed=3))
    for start in (0, 512, 100_000):
        kinds = [plan.batch(step).kind for step in range(start, start + 1000)]
        share = kinds.count("monolingual") / 1000
        assert abs(share - alpha) < 4 * np.sqrt(alpha * (1 - alpha) / 1000)


def test_languages_are_drawn_uniformly_or_by_size(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, [("pairs", ["en"], 900), ("pairs", ["de"], 100)])
    for exponent, share in ((0.0, 0.5), (1.0, 0.9), (0.5, 0.75)):
        plan = Plan(store, PlanConfig(strategy="x-x", batch_size=4, language_exponent=exponent))
        drawn = Counter(plan.batch(step).stratum for step in range(CYCLE))
        assert abs(drawn["mono:en"] / CYCLE - share) < 0.01


def test_a_language_of_one_row_repeats_and_does_not_vanish(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, [("pairs", ["en"], 1000), ("pairs", ["cy"], 1)])
    plan = Plan(store, PlanConfig(strategy="x-x", batch_size=8))
    welsh = [batch for batch in map(plan.batch, range(100)) if batch.stratum == "mono:cy"]
    assert len(welsh) > 30
    assert all((batch.rows == 0).all() and len(batch.rows) == 8 for batch in welsh)


def test_a_step_is_the_same_in_any_order_and_process(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, LAYOUT)
    plan = Plan(store, PlanConfig(batch_size=16))
    steps = [5_000_000, 3, 1_000_000, 0, 2047, 3]
    asked = {step: plan.batch(step) for step in steps}
    again = Plan(store, PlanConfig(batch_size=16))
    for step in sorted(asked):
        assert all(np.array_equal(a, b) for a, b in zip(asked[step], again.batch(step), strict=True))
    code = (
        "import sys; from hbt_ray.batches.plan import Plan; from hbt_ray.config import PlanConfig;"
        "from hbt_ray.data.streams import StreamStore;"
        "plan = Plan(StreamStore(sys.argv[1]), PlanConfig(batch_size=16));"
        "print(plan.hash, plan.batch(1_000_000).rows.tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code, store.uri], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == f"{plan.hash} {asked[1_000_000].rows.tolist()}"


def test_hash_tells_plans_apart(tmp_path: Path) -> None:
    store = manifest_only(tmp_path / "a", LAYOUT)
    base = PlanConfig(batch_size=16)
    hashes = {Plan(store, base.model_copy(update=change)).hash for change in ({}, {"seed": 1}, {"alpha": 0.4})}
    hashes.add(Plan(manifest_only(tmp_path / "b", LAYOUT[1:]), base).hash)
    assert len(hashes) == 4
    assert Plan(store, base).hash in hashes


def test_only_the_languages_asked_for(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, LAYOUT)
    plan = Plan(store, PlanConfig(batch_size=16, languages=("de", "en")))
    for step in range(50):
        query, passage = languages_of(plan, plan.batch(step))
        assert query | passage <= {"de", "en"}


@pytest.mark.parametrize(
    ("layout", "config", "says"),
    [
        ([("pairs", ["en"], 5)], {"strategy": "x-y"}, "no translations"),
        ([("bitext", ["de", "en"], 5)], {"strategy": "x-x"}, "no monolingual pair"),
        (LAYOUT, {"languages": ("de", "klingon")}, "klingon is no known language tag"),
        (LAYOUT, {"languages": ("de", "ja")}, "the store has no ja"),
    ],
)
def test_what_the_store_cannot_give_is_refused(
    tmp_path: Path, layout: Layout, config: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        Plan(manifest_only(tmp_path, layout), PlanConfig.model_validate({"batch_size": 4, **config}))
