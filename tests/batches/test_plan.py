"""What a plan promises (design, invariants 5 to 9), on stores that are a manifest alone."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import Layout, manifest_only

from hbt_ray.batches.draws import CYCLE
from hbt_ray.batches.plan import Plan
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


class Batch(NamedTuple):
    """One step of `Plan.batches`, in words."""

    stratum: str
    kind: str
    rows: list[tuple[int, int]]  # member, row
    pairs: list[tuple[str, str]]  # query language, passage language


def batches(plan: Plan, start: int, stop: int) -> list[Batch]:
    drawn = plan.batches(start, stop)
    names = np.array(plan.languages)
    return [
        Batch(
            plan.strata[stratum].name,
            plan.strata[stratum].kind,
            list(zip(drawn.members[step].tolist(), drawn.rows[step].tolist(), strict=True)),
            [(query, passage) for query, passage in names[plan.member_languages[drawn.members[step]]].tolist()],
        )
        for step, stratum in enumerate(drawn.strata)
    ]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=layouts,
    strategy=st.sampled_from(["x-x", "x-y", "hybrid"]),
    alpha=st.floats(0, 1),
    batch_size=st.integers(2, 40),
    seed=st.integers(0, 5),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
    cross_batches=st.sampled_from(["mixed", "pair"]),
    start=st.sampled_from([0, 1000, 999_990]),
)
def test_batches_of_any_store(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Layout,
    strategy: str,
    alpha: float,
    batch_size: int,
    seed: int,
    exponent: float,
    cross_batches: str,
    start: int,
) -> None:
    store = manifest_only(tmp_path_factory.mktemp("store"), layout)
    settings_ = {"strategy": strategy, "alpha": alpha, "batch_size": batch_size, "seed": seed}
    others = {"language_exponent": exponent, "cross_batches": cross_batches}
    try:
        plan = Plan(store, PlanConfig.model_validate({**settings_, **others}))
    except UserError as error:
        assert "monolingual" in str(error) or "translations" in str(error)
        return
    drawn = batches(plan, start, start + 60)
    for step, batch in enumerate(drawn):
        assert batch == batches(plan, start + step, start + step + 1)[0]
        assert batch.stratum == plan.stratum(start + step).name
        assert len(batch.rows) == batch_size
        for member, row in batch.rows:
            assert 0 <= row < plan.members[member].rows
        if batch.kind == "monolingual":
            assert strategy != "x-y"
            assert {f"mono:{query}" for query, _ in batch.pairs} == {batch.stratum}
            assert all(query == passage for query, passage in batch.pairs)
        else:
            assert strategy != "x-x"
            assert all(query != passage for query, passage in batch.pairs)
            assert len(set(batch.pairs)) == 1 or cross_batches == "mixed"
        for (member, _), (query, passage) in zip(batch.rows, batch.pairs, strict=True):
            assert query == store.streams[plan.members[member].query].languages[0]
            assert passage == store.streams[plan.members[member].passage].languages[1]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=layouts, batch_size=st.integers(2, 40), seed=st.integers(0, 5), alpha=st.sampled_from([0.2, 0.5, 0.8]))
def test_every_row_once_in_every_pass(
    tmp_path_factory: pytest.TempPathFactory, layout: Layout, batch_size: int, seed: int, alpha: float
) -> None:
    store = manifest_only(tmp_path_factory.mktemp("store"), layout)
    config = PlanConfig(batch_size=batch_size, seed=seed, strategy="x-x" if alpha == 0.8 else "hybrid", alpha=alpha)
    try:
        plan = Plan(store, config)
    except UserError:
        return
    drawn = batches(plan, 0, 600)
    taken: Counter[int] = Counter()
    for direction in plan.directions:
        languages = tuple(plan.languages[place] for place in direction.languages)
        rows = [row for batch in drawn for row, pair in zip(batch.rows, batch.pairs, strict=True) if pair == languages]
        taken.update(member for member, _ in rows)
        if languages[0] == languages[1]:
            check_passes(rows, direction.rows)
    assert plan.taken(600).tolist() == [taken[member] for member in range(len(plan.members))]
    names = Counter(batch.stratum for batch in drawn)
    assert plan.drawn(600).tolist() == [names[stratum.name] for stratum in plan.strata]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layout=layouts,
    batch_size=st.integers(2, 40),
    seed=st.integers(0, 5),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
    tokens=st.sampled_from([0, 10**9]),
)
def test_every_match_once_in_every_pass_of_a_direction(
    tmp_path_factory: pytest.TempPathFactory, layout: Layout, batch_size: int, seed: int, exponent: float, tokens: int
) -> None:
    store = manifest_only(tmp_path_factory.mktemp("store"), layout, tokens=tokens)
    config = PlanConfig(batch_size=batch_size, seed=seed, strategy="x-y", language_exponent=exponent)
    try:
        plan = Plan(store, config)
    except UserError:
        return
    drawn = batches(plan, 0, 600 // plan.turn * plan.turn)
    for direction in plan.directions:
        languages = tuple(plan.languages[place] for place in direction.languages)
        rows = [row for batch in drawn for row, pair in zip(batch.rows, batch.pairs, strict=True) if pair == languages]
        check_passes(rows, direction.rows)


def check_passes(rows: list[tuple[int, int]], length: int) -> None:
    """Every row is there once in every pass, and in the last one at most once."""
    counts = Counter(rows)
    passes, rest = divmod(len(rows), length)
    assert len(counts) == (length if passes else rest)
    assert set(counts.values()) <= {passes, passes + 1}
    assert sum(count == passes + 1 for count in counts.values()) == rest


def test_order_differs_from_pass_to_pass(tmp_path: Path) -> None:
    plan = Plan(manifest_only(tmp_path, [("pairs", ["en"], 64)], 8), PlanConfig(strategy="x-x", batch_size=16))
    drawn = batches(plan, 0, 12)
    passes = [[frozenset(batch.rows) for batch in drawn[start : start + 4]] for start in (0, 4, 8)]
    assert all(len(frozenset().union(*rows)) == 64 for rows in passes)
    assert len({frozenset(rows) for rows in passes}) == 3


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_share_of_monolingual_batches_is_alpha(tmp_path: Path, alpha: float) -> None:
    plan = Plan(manifest_only(tmp_path, LAYOUT), PlanConfig(batch_size=4, alpha=alpha, seed=3))
    for start in (0, 512, 100_000):
        kinds = [batch.kind for batch in batches(plan, start, start + 1000)]
        share = kinds.count("monolingual") / 1000
        assert abs(share - alpha) <= 4 * np.sqrt(alpha * (1 - alpha) / 1000)


def test_shares_of_any_thousand_steps_are_within_sampling_error(tmp_path: Path) -> None:
    layout: Layout = [("pairs", [tag], 10 * number + 1) for number, tag in enumerate(["ar", "de", "en", "fr", "ja"])]
    layout += [("pairs", ["de", "en"], 70), ("bitext", ["en", "ru", "zh"], 300)]
    plan = Plan(manifest_only(tmp_path, layout), PlanConfig(batch_size=4, alpha=0.4, language_exponent=0.3))
    assert plan.weights.sum() == pytest.approx(1)
    for start in (0, 1, 500, 1023, 123_456, 10**9):
        strata = plan.batches(start, start + 1000).strata
        error = np.bincount(strata, minlength=len(plan.strata)) - 1000 * plan.weights
        assert (np.abs(error) <= 4 * np.sqrt(1000 * plan.weights * (1 - plan.weights))).all()


def test_languages_are_drawn_uniformly_or_by_size(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, [("pairs", ["en"], 900), ("pairs", ["de"], 100)])
    for exponent, share in ((0.0, 0.5), (1.0, 0.9), (0.5, 0.75)):
        plan = Plan(store, PlanConfig(strategy="x-x", batch_size=4, language_exponent=exponent))
        drawn = Counter(batch.stratum for batch in batches(plan, 0, CYCLE))
        assert abs(drawn["mono:en"] / CYCLE - share) < 0.01


def test_sources_of_a_direction_are_drawn_by_size_in_every_batch(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, [("bitext", ["de", "en"], 3000), ("cross-lingual", ["de", "en"], 1000)])
    plan = Plan(store, PlanConfig(strategy="x-y", batch_size=40, pairs=("de:en",)))
    small = next(number for number, member in enumerate(plan.members) if member.pair is None)
    for batch in batches(plan, 0, 100):
        assert 9 <= sum(member == small for member, _ in batch.rows) <= 11


def test_pairs_of_languages_are_drawn_uniformly_or_by_size(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, [("pairs", ["de", "en"], 1_000_000), ("pairs", ["en", "sw"], 1000)], 1024)
    for exponent, share in ((0.0, 0.5), (0.5, 1 / (1 + 1000**0.5)), (1.0, 1 / 1001)):
        plan = Plan(store, PlanConfig(strategy="x-y", batch_size=64, language_exponent=exponent))
        taken = plan.taken(200_000)
        swahili = plan.languages.index("sw")
        drawn = taken[(plan.member_languages == swahili).any(axis=1)].sum() / taken.sum()
        assert drawn == pytest.approx(share, rel=0.05)


def test_a_mixed_batch_has_many_directions(tmp_path: Path) -> None:
    languages = [f"{first}{second}" for first in "abcdef" for second in "abcdefghij"]
    store = manifest_only(tmp_path, [("pairs", languages, 5000)], 1024, tokens=10**9)
    plan = Plan(store, PlanConfig(strategy="x-y", batch_size=1024))
    assert all(len(set(batch.pairs)) >= 16 for batch in batches(plan, 0, 64))
    short = Plan(store, PlanConfig(strategy="x-y", batch_size=128))
    assert len({pair for batch in batches(short, 0, 2000) for pair in batch.pairs}) > 1000


def test_a_language_of_one_row_repeats_and_does_not_vanish(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, [("pairs", ["en"], 1000), ("pairs", ["cy"], 1)])
    plan = Plan(store, PlanConfig(strategy="x-x", batch_size=8))
    welsh = [batch for batch in batches(plan, 0, 100) if batch.stratum == "mono:cy"]
    assert len(welsh) > 30
    assert all(len(batch.rows) == 8 and {row for _, row in batch.rows} == {0} for batch in welsh)


def test_a_step_is_the_same_in_any_order_and_process(tmp_path: Path) -> None:
    store = manifest_only(tmp_path, LAYOUT)
    plan = Plan(store, PlanConfig(batch_size=16))
    steps = [5_000_000, 3, 1_000_000, 0, 2047, 3]
    asked = {step: batches(plan, step, step + 1) for step in steps}
    again = Plan(store, PlanConfig(batch_size=16))
    assert all(asked[step] == batches(again, step, step + 1) for step in sorted(asked))
    code = (
        "import sys; from hbt_ray.batches.plan import Plan; from hbt_ray.config import PlanConfig;"
        "from hbt_ray.data.streams import StreamStore;"
        "plan = Plan(StreamStore(sys.argv[1]), PlanConfig(batch_size=16));"
        "print(plan.hash, plan.batches(999_999, 1_000_001).rows[1].tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code, store.uri], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == f"{plan.hash} {[row for _, row in asked[1_000_000][0].rows]}"


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
    assert {language for batch in batches(plan, 0, 50) for pair in batch.pairs for language in pair} == {"de", "en"}


@pytest.mark.parametrize("cross_batches", ["mixed", "pair"])
def test_only_the_pairs_asked_for(tmp_path: Path, cross_batches: Literal["mixed", "pair"]) -> None:
    config = PlanConfig(batch_size=16, strategy="x-y", pairs=("ru:de", "de:en"), cross_batches=cross_batches)
    plan = Plan(manifest_only(tmp_path, LAYOUT), config)
    drawn = batches(plan, 0, 50)
    assert {pair for batch in drawn for pair in batch.pairs} == {("ru", "de"), ("de", "en")}
    names = {"cross"} if cross_batches == "mixed" else {"cross:ru-de", "cross:de-en"}
    assert {batch.stratum for batch in drawn} == names


@pytest.mark.parametrize(
    ("layout", "config", "says"),
    [
        ([("pairs", ["en"], 5)], {"strategy": "x-y"}, "no translations"),
        ([("bitext", ["de", "en"], 5)], {"strategy": "x-x"}, "no monolingual pair"),
        (LAYOUT, {"languages": ("de", "klingon")}, "'klingon' is no known language tag"),
        (LAYOUT, {"languages": ("de", "ja")}, "the store has no ja"),
        (LAYOUT, {"pairs": ("de:ja",)}, "--pairs de:ja: the store has no ja"),
        (LAYOUT, {"pairs": ("de-en",)}, "--pairs de-en: 'de-en' is no known language tag"),
        (LAYOUT, {"pairs": ("fr:ru",)}, "no query in fr with a passage in ru"),
    ],
)
def test_what_the_store_cannot_give_is_refused(
    tmp_path: Path, layout: Layout, config: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        Plan(manifest_only(tmp_path, layout), PlanConfig.model_validate({"batch_size": 4, **config}))
