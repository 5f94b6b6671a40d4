"""Several stores in one run: how they are named, what their weights do, and what is kept apart."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import manifest_only

from hbt_ray.batches import chunk
from hbt_ray.batches.forecast import by_store, forecast, show_forecast
from hbt_ray.batches.plan import Plan
from hbt_ray.command import parse
from hbt_ray.config import PlanConfig, PrepareConfig, TrainConfig, UserError, WeightedStore
from hbt_ray.data.prepare import prepare
from hbt_ray.data.stores import Stores, whole_numbers
from hbt_ray.model import tokenizer

NEEDED = ("--model", "nano", "--out", "/none/out", "--steps", "1")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
# URIs with colons and equals signs, also with numbers behind them, but not at the end
PLACES = st.from_regex(r"(s3://bucket|gs://b:1|/none)(/[a-z0-9:=. ]{0,6}[a-z]){1,3}", fullmatch=True).filter(
    lambda uri: "::" not in uri  # which no path may have
)


BASE: dict[str, Any] = {"out": "/none/out", "steps": 1, "encoder": {"model": "nano"}}


def told(*data: str) -> tuple[WeightedStore, ...]:
    return TrainConfig.model_validate({**BASE, "data": data}).data


@given(
    st.lists(
        st.tuples(NAMES, PLACES, st.one_of(st.none(), st.floats(1e-6, 1e6), st.integers(1, 10**6))),
        min_size=1,
        max_size=4,
        unique_by=(lambda one: one[0], lambda one: os.path.normpath(one[1])),
    )
)
def test_names_uris_and_weights_are_read_as_they_are_written(asked: list[tuple[str, str, float | None]]) -> None:
    written = [f"{name}={uri}{'' if weight is None else f':{weight!r}'}" for name, uri, weight in asked]
    found = [(one.name, one.uri, one.weight) for one in told(*written)]
    expected = [
        (name, uri if "://" in uri else os.path.abspath(uri), 1.0 if weight is None else float(weight))
        for name, uri, weight in asked
    ]
    assert found == expected
    mapped = {name: {"uri": uri, "weight": 1.0 if weight is None else weight} for name, uri, weight in asked}
    assert TrainConfig.model_validate({**BASE, "data": mapped}).data == told(*written)
    short = {name: text.partition("=")[2] for (name, _, _), text in zip(asked, written, strict=True)}
    assert TrainConfig.model_validate({**BASE, "data": short}).data == told(*written)
    (plain,) = told(written[0].partition("=")[2])
    assert (plain.name, plain.uri, plain.weight) == (None, *expected[0][1:])


def test_what_exists_under_the_literal_name_is_meant(tmp_path: Path) -> None:
    (tmp_path / "store:2").mkdir()
    (tmp_path / "a=b:3").mkdir()
    assert told(f"a={tmp_path}/store:2")[0] == WeightedStore(name="a", uri=f"{tmp_path}/store:2")
    assert told(f"a={tmp_path}/store:2:0.5")[0] == WeightedStore(name="a", uri=f"{tmp_path}/store:2", weight=0.5)
    assert told(f"{tmp_path}/a=b:3")[0] == WeightedStore(uri=f"{tmp_path}/a=b:3")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (["a=s3://b/a", "s3://b/b"], "--data: s3://b/b needs a name among several stores"),
        (["a=s3://b/a", "a=s3://b/b"], "--data: the name a is there twice"),
        (["a=s3://b/a", "b=s3://b/a/:2"], "--data: the URI s3://b/a is there twice"),
        (["a=s3://b/a:0", "b=s3://b/b"], "--data: the weight of a has to be a number greater than 0, not 0"),
        (["a=s3://b/a:-2", "b=s3://b/b"], "--data: the weight of a has to be a number greater than 0, not -2"),
        (["a=s3://b/a:nan", "b=s3://b/b"], "--data: the weight of a has to be a number greater than 0, not nan"),
        (["a=s3://b/a:inf", "b=s3://b/b"], "--data: the weight of a has to be a number greater than 0, not inf"),
        (["a=/tmp:two", "b=s3://b/b"], "--data: the weight of a has to be a number greater than 0, not two"),
    ],
)
def test_stores_that_cannot_be_told_apart_or_weighed_are_refused(data: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        parse(TrainConfig, [*NEEDED, "--data", *data])
    assert "\n" not in str(error.value)


def over(stores: dict[str, tuple[Path, float]]) -> Stores:
    return Stores([WeightedStore(name=name, uri=str(uri), weight=weight) for name, (uri, weight) in stores.items()])


def test_weights_as_whole_numbers() -> None:
    assert whole_numbers([2.0]) == [1]
    assert whole_numbers([0.1, 0.3]) == [1, 3]
    assert whole_numbers([1.5, 1.0, 0.25]) == [6, 4, 1]
    assert whole_numbers([1e-7, 1.0]) == [1, 10**7]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stores=st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]), st.integers(1, 9)),
        min_size=1,
        max_size=4,
    ),
    batch_size=st.integers(2, 9),
    seed=st.integers(0, 3),
)
def test_shares_are_rows_times_weight_to_the_row(
    tmp_path_factory: pytest.TempPathFactory, stores: list[tuple[int, float, int]], batch_size: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    asked = {}
    for number, (rows, weight, row_group_rows) in enumerate(stores):
        manifest_only(folder / f"{number}", [("pairs", ["en"], rows)], row_group_rows)
        asked[f"s{number}"] = folder / f"{number}", weight
    plan = Plan(store := over(asked), PlanConfig(strategy="x-x", batch_size=batch_size, seed=seed))
    shares = whole_numbers([weight for _, weight, _ in stores])
    sizes = [rows * share for (rows, *_), share in zip(stores, shares, strict=True)]
    steps = sum(sizes)  # in each cycle of as many pairs every store has its size
    drawn = plan.batches(0, steps)
    members = np.bincount(drawn.members.ravel(), minlength=len(stores))
    assert members.tolist() == [size * batch_size for size in sizes]
    assert [one.drawn for one in by_store(store, plan, steps)] == members.tolist()
    for number, ((rows, _, _), share) in enumerate(zip(stores, shares, strict=True)):  # every row equally often
        taken = np.bincount(drawn.rows[drawn.members == number], minlength=rows)
        assert taken.tolist() == [share * batch_size] * rows
    window = plan.batches(3, 3 + 1 + sum(sizes) // 3)  # and in any batches nearly so
    found = np.bincount(window.members.ravel(), minlength=len(stores))
    expected = np.array(sizes) * window.rows.size / sum(sizes)
    assert (abs(found - expected) <= 4).all()


def test_sizes_too_large_to_add_up_keep_their_proportion(tmp_path: Path) -> None:
    for name, rows in (("a", 2**20), ("b", 2**10)):
        manifest_only(tmp_path / name, [("pairs", ["en"], rows)], 2**10)
    plan = Plan(
        over({"a": (tmp_path / "a", 12345.678), "b": (tmp_path / "b", 0.001)}),
        PlanConfig(strategy="x-x", batch_size=1000),
    )
    (direction,) = plan.directions
    assert direction.sizes.sum() < 2**31 and direction.sizes.min() == 1
    assert plan.taken(1000).tolist()[0] >= 999_999


def test_weights_count_where_languages_are_drawn_by_size(tmp_path: Path) -> None:
    manifest_only(tmp_path / "a", [("pairs", ["en"], 100)])
    manifest_only(tmp_path / "b", [("pairs", ["de"], 100)])
    store = over({"a": (tmp_path / "a", 1), "b": (tmp_path / "b", 3)})
    for exponent, share in ((0.0, 0.5), (1.0, 0.75)):
        plan = Plan(store, PlanConfig(strategy="x-x", batch_size=2, language_exponent=exponent))
        assert dict(zip((s.name for s in plan.strata), plan.weights, strict=True))["mono:de"] == pytest.approx(share)
        assert plan.steps(1) == 100  # a pass over the rows of both, whatever their weights


def test_the_hash_knows_names_checksums_and_weights_and_no_places(tmp_path: Path) -> None:
    def plan(*data: str) -> Plan:
        return Plan(Stores(told(*data)), PlanConfig(batch_size=4))

    for name, rows in (("a", 20), ("b", 30), ("c", 40)):
        manifest_only(tmp_path / name, [("pairs", ["de", "en"], rows)])
    shutil.copytree(tmp_path / "b", tmp_path / "moved")
    a, b = f"{tmp_path}/a", f"{tmp_path}/b"
    both = plan(f"a={a}:2", f"b={b}")
    same = [(f"b={b}", f"a={a}:2"), (f"a={a}:4", f"b={b}:2"), (f"a={a}:2", f"b={tmp_path}/moved")]
    for data in same:
        other = plan(*data)
        assert other.hash == both.hash
        assert (other.batches(0, 50).rows == both.batches(0, 50).rows).all()
    others = [(f"a={a}", f"b={b}"), (f"a={a}:2", f"x={b}"), (f"a={a}:2", f"b={tmp_path}/c"), (a,), (f"a={a}:2",)]
    assert len({both.hash, *(plan(*data).hash for data in others)}) == 5  # of one store neither name nor weight counts


def write(path: Path, prefix: str, groups: int) -> str:
    rows = [(group, language) for group in range(groups) for language in ("de", "en", "ru")]
    columns: dict[str, Any] = {
        "group": [f"g{group}" for group, _ in rows],  # the same in every store
        "lang": [language for _, language in rows],
        "query": [f"{prefix} question {group} {language}" for group, language in rows],
        "passage": [f"{prefix} answer {group} {language}" for group, language in rows],
    }
    pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> dict[str, str]:
    """Stores with the same groups and sources, other texts, seeds and row groups, and one tokenizer."""
    folder = tmp_path_factory.mktemp("two")
    a, b = write(folder / "a.parquet", "alpha", 40), write(folder / "b.parquet", "other", 25)
    common: dict[str, Any] = {"source": "parallel", "partitions": 2}
    one = prepare(PrepareConfig(input=(a,), tokenizer="train:200", out=f"{folder}/a", row_group_rows=8, **common))
    named = f"{folder}/a/tokenizer"
    two = prepare(PrepareConfig(input=(b,), tokenizer=named, out=f"{folder}/b", row_group_rows=5, seed=3, **common))
    return {"a": str(one["out"]), "b": str(two["out"])}


def test_groups_of_two_stores_never_meet(two: dict[str, str]) -> None:
    store = Stores(told(f"a={two['a']}", f"b={two['b']}:2"))
    plan = Plan(store, PlanConfig(batch_size=32))
    (value,) = chunk.read_chunk(store, plan, 0, 40, 1)
    learned = tokenizer.load_tokenizer(store.tokenizer_uri)
    owners: dict[int, set[str]] = {}
    kinds: Counter[tuple[str, str]] = Counter()
    for part in chunk.slices(value, 0, 1):
        for pair in part.pairs.to_pylist():
            query, passage = (learned.decode(pair[side]).split() for side in ("query", "passage"))
            assert [query[0], query[2]] == [passage[0], passage[2]]  # one store, one group
            assert (query[3], passage[3]) == (pair["query_lang"], pair["passage_lang"])
            owners.setdefault(pair["group"], set()).add(f"{query[0]} {query[2]}")
            kinds[query[0], part.stratum[:5]] += 1
    assert all(len(texts) == 1 for texts in owners.values()) and min(owners) >= 0
    assert len(owners) == 65
    for kind in ("mono:", "cross"):  # 40 groups of weight 1 and 25 of weight 2
        assert kinds["other", kind] / (kinds["alpha", kind] + kinds["other", kind]) == pytest.approx(50 / 90, abs=0.03)
    alone = Stores(told(two["a"]))
    (value,) = chunk.read_chunk(alone, Plan(alone, PlanConfig(batch_size=32)), 0, 4, 1)
    (first,) = chunk.read_chunk(alone.stores[0], Plan(alone.stores[0], PlanConfig(batch_size=32)), 0, 4, 1)
    assert value == first


def test_a_forecast_names_the_stores(two: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    store = Stores(told(f"a={two['a']}", f"b={two['b']}:2"))
    expected = forecast(store, Plan(store, PlanConfig(batch_size=32)), 200, workers=1)
    assert [(one.name, one.weight, one.rows) for one in expected.stores] == [("a", 1.0, 120), ("b", 2.0, 75)]
    assert sum(one.drawn for one in expected.stores) == 200 * 32
    assert expected.stores[1].share == pytest.approx(50 / 90, abs=0.02)
    show_forecast(expected)
    assert "b: data/pairs-de-" in capsys.readouterr().err


def test_stores_of_two_tokenizers_are_refused(two: dict[str, str], tmp_path: Path) -> None:
    file = write(tmp_path / "c.parquet", "gamma", 30)
    made = prepare(PrepareConfig(source="parallel", input=(file,), tokenizer="train:150", out=f"{tmp_path}/c"))
    with pytest.raises(UserError, match=f"{two['a']} and {made['out']} were tokenised with different tokenizers"):
        Stores(told(f"a={two['a']}", f"c={made['out']}"))
    with pytest.raises(UserError, match="has the checksum .* and not gone: it was appended to"):
        Stores([WeightedStore(uri=two["a"], checksum="gone")])
