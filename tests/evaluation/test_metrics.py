"""Measures: exact average precision is trec_eval's, every measure is right on one tiny run, and on random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import pytrec_eval
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hbt_ray.config import Setting, UserError
from hbt_ray.evaluation import rankings
from hbt_ray.evaluation.bias import by_script, language_shares, rank_distance
from hbt_ray.evaluation.metrics import ALWAYS, average_precision, columns, macro, ranks_in_lists, trec_measures
from hbt_ray.evaluation.run_file import RunRanker
from hbt_ray.evaluation.tasks.base import Task

# what trec_eval calls our measures, and its value where ours stops at a rank
THEIRS = {"map": "map", "map@20": "map_cut_20", "ndcg@10": "ndcg_cut_10", "ndcg@20": "ndcg_cut_20",
          "recall@10": "recall_10", "recall@100": "recall_100", "recall@1000": "recall_1000",
          "success@1": "success_1", "mrr@10": "recip_rank", "mrr@100": "recip_rank"}  # fmt: skip
DOCUMENTS = [f"{language}:{letter}" for language in ("de", "en") for letter in "abcdefgh"]
QUERIES = ["de:1", "en:1", "en:2", "en:3"]


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=60).filter(any), min_size=1, max_size=8))
def test_average_precision_is_trec_eval_map_of_the_full_list(lists: list[list[bool]]) -> None:
    """`lists[q][i]`: whether the document at rank i + 1 is relevant to query q."""
    qrel = {str(q): {f"d{i}": 1 for i, hit in enumerate(row) if hit} for q, row in enumerate(lists)}
    run = {str(q): {f"d{i}": float(-i) for i in range(len(row))} for q, row in enumerate(lists)}
    expected = pytrec_eval.RelevanceEvaluator(qrel, {"map"}).evaluate(run)
    pairs = [(q, i + 1) for q, row in enumerate(lists) for i, hit in enumerate(row) if hit]
    shuffled = np.random.default_rng(0).permutation(np.array(pairs))
    offsets, ranks, _ = ranks_in_lists(np.arange(len(lists)), shuffled[:, 0], shuffled[:, 1], shuffled[:, 1])
    ours = average_precision(offsets, ranks, np.diff(offsets))
    assert ours == pytest.approx([expected[str(q)]["map"] for q in range(len(lists))], abs=1e-6)


def test_lists_that_found_little_or_nothing() -> None:
    offsets, ranks, grades = ranks_in_lists(
        *(np.array(values) for values in ([2, 5, 7], [7, 2, 7], [5, 1, 2], [3, 1, 2]))
    )
    assert (offsets.tolist(), ranks.tolist(), grades.tolist()) == ([0, 1, 1, 3], [1, 2, 5], [1, 2, 3])
    found = average_precision(offsets, ranks, np.array([2, 0, 2]))
    assert found.tolist() == [0.5, 0.0, (1 / 2 + 2 / 5) / 2]
    assert average_precision(np.array([0]), np.array([]), np.array([])).tolist() == []


def test_rank_distance() -> None:
    distance = rank_distance(np.array([0, 1, 4, 6]), np.array([3, 2, 5, 11, 4, 9]), np.array([1, 3, 3]))
    assert np.isnan(distance[[0, 2]]).all()  # nothing to be distant from; one of three was never found
    assert distance[1] == 9


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_setting_equals_trec_eval(tmp_path: Path, data: st.DataObject) -> None:
    """Random runs with ties, lists without documents, missing queries, grades, and judgements that are empty or 0."""
    grades = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), max_size=8)
    judgements = {key: found for key in QUERIES if (found := data.draw(grades))} or {"de:1": {"de:a": 0}}
    scores = st.dictionaries(st.sampled_from(DOCUMENTS), st.sampled_from([0.25, 0.5, 0.50000001, 7.0, -1.0]))
    run = {key: listed for key in QUERIES if (listed := data.draw(scores))} or {"en:1": {"de:a": 1.0}}
    lines = [f"{key} Q0 {document} 1 {score} x" for key, found in run.items() for document, score in found.items()]
    (tmp_path / "run").write_text("\n".join(lines))
    queries = pa.table({"id": QUERIES, "lang": [key[:2] for key in QUERIES], "text": QUERIES, "item": QUERIES})
    documents = pa.table({"id": DOCUMENTS, "lang": [key[:2] for key in DOCUMENTS], "text": DOCUMENTS})
    every: tuple[Setting, ...] = ("monolingual", "cross-lingual", "multilingual")
    task = Task("t", queries, documents, judgements, every, ("map", "ndcg@20", "mrr@100", "recall@1000"))
    asked, ranker = np.array(QUERIES, dtype=object), RunRanker(str(tmp_path / "run"))
    table = rankings.rank(task, asked, ranker, 1000).table
    rows = {(row["query"], row["pool"]): row for row in table.to_pylist()}
    expected = 0
    for pool in ("de", "en", "all"):
        qrel = {key: {d: g for d, g in found.items() if pool in (d[:2], "all")} for key, found in judgements.items()}
        lists = {key: {d: s for d, s in run.get(key, {}).items() if pool in (d[:2], "all")} for key in qrel}
        measured = pytrec_eval.RelevanceEvaluator(qrel, pytrec_eval.supported_measures).evaluate(lists)
        for key in qrel:
            if qrel[key]:
                expected += 1
                row = rows[key, pool] | {"map": rows[key, pool]["ap"]}
                for ours in ("map", *columns(task.headline)):  # a list is too short for a reciprocal rank to be cut
                    value = measured[key][THEIRS[ours]]
                    value = 0.0 if ours == "mrr@10" and value < 0.1 else value
                    assert row[ours] == pytest.approx(value, abs=1e-6), (key, pool, ours)
    assert len(table) == expected
    alone = rankings.rank(task, asked, ranker, 1000, ["monolingual"]).table
    assert alone.to_pylist() == [row for row in table.to_pylist() if row["setting"] == "monolingual"]
    summary = rankings.summarise(table, every)
    complete = {key: measured[key]["map"] for key in measured if key.startswith("en")}  # of the pool of all, as -c
    if complete:
        assert summary["multilingual"]["en", "all"]["map"] == pytest.approx(np.mean(list(complete.values())), abs=1e-6)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1 Q0 de:a 1 0.5 x", "1 Q0 de:a 2 0.4 x"], "line 2: document de:a occurs twice for query 1"),
        (["1 Q0 de:a 1 nan x"], "line 1: the score is nan, not a finite number"),
        (["1 Q0 de:a 1 inf x"], "line 1: the score is inf, not a finite number"),
        (["1 Q0 de:a 1 high x"], "line 1: the score is high, not a finite number"),
        (["1 Q0 de:a 1 0.5 x", "1 de:a 0.5"], "line 2 is not of a run: query, Q0, document, rank, score, tag"),
    ],
)
def test_runs_that_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "run").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
        RunRanker(str(tmp_path / "run"))


def test_measures_on_a_tiny_run() -> None:
    """Ranks 1, 2; rank 10, of two documents; 11; nothing relevant; grade 2 at rank 2 and 1 at 3; rank 100; rank 101."""
    offsets = np.array([0, 2, 3, 4, 4, 6, 7, 8])
    ranks, grades = np.array([1, 2, 10, 11, 2, 3, 100, 101]), np.array([1, 1, 1, 1, 2, 1, 1, 1])
    every = [[1, 1], [1, 1], [1], [], [1, 2], [1], [1]]
    measures = trec_measures(offsets, ranks, grades, every, [*ALWAYS, "mrr@100"])
    assert measures["mrr@10"] == pytest.approx([1, 0.1, 0, 0, 0.5, 0, 0])
    assert measures["mrr@100"] == pytest.approx([1, 0.1, 1 / 11, 0, 0.5, 0.01, 0])
    assert measures["success@1"] == pytest.approx([1, 0, 0, 0, 0, 0, 0])
    assert measures["recall@10"] == pytest.approx([1, 0.5, 0, 0, 1, 0, 0])
    assert measures["recall@100"] == pytest.approx([1, 0.5, 1, 0, 1, 1, 0])
    assert measures["map@20"] == pytest.approx([1, 0.05, 1 / 11, 0, (1 / 2 + 2 / 3) / 2, 0, 0], abs=1e-6)
    gain = 1 / np.log2(11)
    graded = (2 / np.log2(3) + 1 / np.log2(4)) / (2 + 1 / np.log2(3))
    assert measures["ndcg@10"] == pytest.approx([1, gain / (1 + 1 / np.log2(3)), 0, 0, graded, 0, 0], abs=1e-6)


def test_macro() -> None:
    assert macro([0.5, None, 1.0]) == 0.75
    assert macro([None]) is None


def test_shares_of_languages() -> None:
    """A query language counts once, however many queries it has; what a list has beyond the tenth does not count."""
    top = [["de:1", "de:2", "en:1", "en:2", ""], ["de:1", "de:2"], [*(f"en:{i}" for i in range(10)), "de:1"], ["de:1"]]
    relevant = [["de:1", "en:1"], ["de:1"], ["de:1", "en:1"], []]
    shares = language_shares(["de", "de", "en", "en"], top, relevant)
    assert shares["top"] == pytest.approx({"de": (0.75 + 0) / 2, "en": (0.25 + 1) / 2})
    assert shares["relevant"] == pytest.approx({"de": (0.75 + 0.5) / 2, "en": (0.25 + 0.5) / 2})


def test_map_by_script() -> None:
    found = by_script({("de", "en"): 0.5, ("de", "ru"): 0.2, ("ru", "de"): 0.4, ("zh", "ar"): None, ("de", "fr"): 0.7})
    assert found == pytest.approx(
        {"same": 0.6, "different": 0.3, "Latn-Latn": 0.6, "Latn-Cyrl": 0.2, "Cyrl-Latn": 0.4, "Hans-Arab": None}
    )
