"""Comparisons of finished evaluations: what is reported, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from hbt_ray import storage
from hbt_ray.config import CompareConfig, UserError
from hbt_ray.study.compare import compare
from hbt_ray.study.paired import read_systems

LANGUAGES = ("de", "en", "tr")


def rows(better: float = 0.0, seed: int = 0, items: int = 40) -> pa.Table:
    """Per-query results of a system; item 0 was not asked in Turkish, so that languages have not all as many."""
    rng = np.random.default_rng(seed)
    ease = np.random.default_rng(99).uniform(0.2, 0.7, items)
    found: list[dict[str, Any]] = []
    for item in range(items):
        for lang in LANGUAGES[: 2 if item == 0 else 3]:
            for pool in (*LANGUAGES[: 2 if item == 0 else 3], "all"):
                setting = "multilingual" if pool == "all" else "monolingual" if pool == lang else "cross-lingual"
                distance = float(rng.integers(1, 90)) if pool == "all" and item != 1 else None
                found.append({
                    "query": f"{lang}:q{item}", "lang": lang, "item": f"q{item}", "setting": setting, "pool": pool,
                    "ap": float(np.clip(ease[item] + better + rng.normal(0, 0.05), 0, 1)),
                    "relevant": 1, "rank_distance": distance, "ndcg@10": 0.5,
                })  # fmt: skip
    return pa.Table.from_pylist(found)


def evaluation(folder: Path, table: pa.Table, **facts: Any) -> str:
    """A finished evaluation as `evaluate` leaves it."""
    results = {"task": "xquad-r", "text": "sentence", "counts": {"documents": 120}, **facts}
    storage.write_json(f"{folder}/results.json", results)
    storage.write_parquet(f"{folder}/per_query.parquet", table)
    storage.commit(str(folder), "evaluation", {})
    return str(folder)


def config(folder: Path, *runs: str, **changes: Any) -> CompareConfig:
    return CompareConfig(**{"runs": runs, "out": f"{folder}/out", "permutations": 999, **changes})


def macro(table: pa.Table, setting: str, column: str = "ap") -> float:
    """As results.json has it: the mean over languages or pairs of their means."""
    chosen = table.filter(pc.field("setting") == setting).group_by(["lang", "pool"]).aggregate([(column, "mean")])
    return float(pc.mean(chosen[f"{column}_mean"]).as_py())


def test_differences_are_those_of_the_headline_averages(tmp_path: Path) -> None:
    base, better, other = rows(), rows(0.1, 1), rows(0.0, 2)
    folders = [evaluation(tmp_path / name, table) for name, table in (("a", base), ("b", better), ("c", other))]
    settings = config(tmp_path, f"base={folders[0]}", f"better={folders[1]}", f"other={folders[2]}")
    result = compare(settings)
    assert result["items"] == 40
    assert len(result["comparisons"]) == 2 * 4
    by_name = {(entry["system"], entry["measure"], entry["setting"]): entry for entry in result["comparisons"]}
    for name, table in (("better", better), ("other", other)):
        for setting in ("monolingual", "cross-lingual", "multilingual"):
            entry = by_name[name, "map", setting]
            assert entry["difference"] == pytest.approx(macro(table, setting) - macro(base, setting), abs=1e-12)
            assert entry["low"] < entry["difference"] < entry["high"]
            assert entry["p"] <= entry["p_holm"]
            assert entry["verdict"] == ("better" if name == "better" else "no difference shown")
    distance = by_name["better", "rank_distance", "multilingual"]
    difference = macro(better, "multilingual", "rank_distance") - macro(base, "multilingual", "rank_distance")
    assert distance["difference"] == pytest.approx(difference)
    assert distance["items"] == 39
    assert json.loads((tmp_path / "out/compare.json").read_text()) == result
    assert compare(settings) == result
    page = (tmp_path / "out/compare.md").read_text()
    assert page.count("| no difference shown |") == sum(
        entry["verdict"] == "no difference shown" for entry in result["comparisons"]
    )
    for ending, beginning in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        assert (tmp_path / f"out/compare.{ending}").read_bytes().startswith(beginning)


def test_a_larger_rank_distance_is_worse(tmp_path: Path) -> None:
    table = rows()
    column = table.column_names.index("rank_distance")
    far = table.set_column(column, "rank_distance", pc.add(table["rank_distance"], 30.0))
    runs = evaluation(tmp_path / "a", table), evaluation(tmp_path / "b", far)
    (entry,) = compare(config(tmp_path, *runs, measures=("rank_distance",)))["comparisons"]
    assert entry["difference"] == pytest.approx(30)
    assert entry["verdict"] == "worse"


@pytest.mark.parametrize(
    ("measure", "more", "less"),
    [
        ("max_rank", "worse", "better"),
        ("abs_language_preference@10", "worse", "better"),
        ("peer@20", "better", "worse"),
        ("mrc@100", "better", "worse"),
        ("language_preference@10", "higher", "lower"),  # 0 is best, so that neither is better as such
    ],
)
def test_which_way_is_better(tmp_path: Path, measure: str, more: str, less: str) -> None:
    low = rows().rename_columns({"rank_distance": measure})
    high = low.set_column(low.column_names.index(measure), measure, pc.add(low[measure], 1.0))
    runs = evaluation(tmp_path / "low", low), evaluation(tmp_path / "high", high)
    (entry,) = compare(config(tmp_path, *runs, measures=(measure,)))["comparisons"]
    (other,) = compare(config(tmp_path, *runs[::-1], measures=(measure,), out=f"{tmp_path}/other"))["comparisons"]
    assert (entry["setting"], entry["verdict"], other["verdict"]) == ("multilingual", more, less)


def test_an_evaluation_without_a_newer_measure_compares_in_the_others(tmp_path: Path) -> None:
    newer = rows(seed=1)
    newer = newer.append_column("peer@20", newer["rank_distance"])
    runs = evaluation(tmp_path / "old", rows()), evaluation(tmp_path / "new", newer)
    assert len(compare(config(tmp_path, *runs))["comparisons"]) == 4
    with pytest.raises(UserError, match=r"--measures peer@20: .*/old has no such measure"):
        compare(config(tmp_path, *runs, measures=("peer@20",), out=f"{tmp_path}/other"))


def test_runs_of_several_seeds_are_one_system(tmp_path: Path) -> None:
    tables = [rows(seed=seed) for seed in range(4)]
    runs = [evaluation(tmp_path / f"r{seed}", table) for seed, table in enumerate(tables)]
    result = compare(config(tmp_path, f"a={runs[0]},{runs[1]}", f"b={runs[2]},{runs[3]}", measures=("map",)))
    (entry,) = [entry for entry in result["comparisons"] if entry["setting"] == "monolingual"]
    values = [macro(table, "monolingual") for table in tables]
    assert entry["difference"] == pytest.approx(np.mean(values[2:]) - np.mean(values[:2]))
    (figure,) = [one for one in result["systems"][1]["figures"] if one["setting"] == "monolingual"]
    assert figure["by_run"] == pytest.approx(values[2:])
    assert figure["spread"] == pytest.approx(np.std(values[2:], ddof=1))


def change(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    return table.set_column(
        table.column_names.index(column), column, pa.array(values, table[column].type, from_pandas=False)
    )


@pytest.mark.parametrize(
    ("table", "facts", "message"),
    [
        (rows(items=38), {}, "only one has 6 queries, de:q38, de:q39, en:q38"),
        (rows().slice(1), {}, "the same queries were searched in other pools"),
        (change(rows(), "item", 0, "q9"), {}, "another item in query de:q0"),
        (change(rows(), "relevant", 0, 2), {}, "another number of relevant documents in query de:q0"),
        (change(rows(), "ap", 0, float("nan")), {}, "map in per_query.parquet is not a number for query de:q0"),
        (change(rows(), "ap", 0, None), {}, "map in per_query.parquet is not a number for query de:q0"),
        (change(rows(), "rank_distance", 2, None), {}, "has no rank_distance for other queries than"),
        (rows().drop_columns("rank_distance"), {}, "--measures rank_distance: .*/b has no such measure"),
        (rows(), {"task": "mlqa-r"}, "the task is xquad-r and mlqa-r"),
        (rows(), {"text": "sentence[+]context"}, r"the text is sentence and sentence\[\+\]context"),
        (rows(), {"counts": {"documents": 1200}}, "the number of documents is 120 and 1200"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path: Path, table: pa.Table, facts: dict[str, Any], message: str) -> None:
    runs = evaluation(tmp_path / "a", rows()), evaluation(tmp_path / "b", table, **facts)
    with pytest.raises(UserError, match=message) as refused:
        compare(config(tmp_path, *runs))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_systems_that_are_not_there(tmp_path: Path) -> None:
    run = evaluation(tmp_path / "a", rows())
    (tmp_path / "b").mkdir()
    for runs, message in (
        ((run,), "needs two systems or more, not 1"),
        ((f"x={run}", f"x={run}2"), "two systems are called x"),
        ((f"x={run}", f"y={run}"), "is named 2 times"),
        ((run, str(tmp_path / "b")), "b holds no finished evaluation"),
    ):
        with pytest.raises(UserError, match=message):
            compare(config(tmp_path, *runs))
    with pytest.raises(UserError, match="has no value of it in any setting"):
        empty = rows().filter(pc.field("setting") != "multilingual")
        lacking = [evaluation(tmp_path / name, empty) for name in ("c", "d")]
        compare(config(tmp_path, *lacking, measures=("rank_distance",)))


def test_folders_with_an_equals_sign_in_their_path_are_no_names(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / f"seed={seed}", rows(seed=seed)) for seed in (1, 2)]
    assert compare(config(tmp_path, *runs))["baseline"] == runs[0]
    systems, first = read_systems({"a": [runs[0]]}, ["map"])
    assert systems[0].values["map"].shape == (1, len(first.table))
