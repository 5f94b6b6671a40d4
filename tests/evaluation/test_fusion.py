"""Fusion against sums by hand, and what it must do with any lists; no cluster is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.command import parse
from hbt_ray.config import EvaluateConfig, UserError
from hbt_ray.evaluation.by_row import ByRow
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.evaluation.fusion import FusedRanker
from hbt_ray.evaluation.run_file import RunRanker
from hbt_ray.search.fusion import reciprocal_ranks, weighted_scores
from hbt_ray.search.ranking import Hits, merge

Scores = dict[str, float]


def hits(*lists: Scores) -> Hits:
    """Lists in the total order, of which the shorter ones have empty ends."""
    width = max(map(len, lists))
    ranked = [sorted(scores.items(), key=lambda pair: (pair[1], pair[0]), reverse=True) for scores in lists]
    filled = [[*pairs, *[("", -np.inf)] * (width - len(pairs))] for pairs in ranked]
    return Hits(
        np.array([[key for key, _ in pairs] for pairs in filled], dtype=object).reshape(len(lists), width),
        np.array([[score for _, score in pairs] for pairs in filled], dtype=np.float32).reshape(len(lists), width),
    )


def listed(found: Hits, row: int = 0) -> list[tuple[str, float]]:
    pairs = zip(found.ids[row].tolist(), found.scores[row].tolist(), strict=True)
    return [(key, score) for key, score in pairs if key]


def test_reciprocal_ranks_by_hand() -> None:
    """a is 1st and 3rd, b 2nd and 1st, c 3rd, d 2nd; the second query has one list only."""
    first = hits({"en:a": 9.0, "en:b": 5.0, "en:c": 1.0}, {"en:z": 2.0})
    second = hits({"en:b": 0.3, "en:d": 0.2, "en:a": 0.1}, {})
    found = reciprocal_ranks([first, second], 60)
    expected = {"en:b": 1 / 62 + 1 / 61, "en:a": 1 / 61 + 1 / 63, "en:d": 1 / 62, "en:c": 1 / 63}
    assert listed(found) == [(key, float(np.float32(score))) for key, score in expected.items()]
    assert listed(found, 1) == [("en:z", float(np.float32(1 / 61)))]
    assert found.ids[1].tolist() == ["en:z", "", "", ""] and found.scores[1, 1] == -np.inf
    # with k = 0 a first place counts more: 1 + 1/3 for a, 1/2 + 1 for b
    assert [key for key, _ in listed(reciprocal_ranks([first, second], 0))] == ["en:b", "en:a", "en:d", "en:c"]


def test_weighted_scores_by_hand() -> None:
    """Scaled, the first list has a 1, b .5, c 0, and the second b 1, d .5, a 0."""
    lists = [hits({"en:a": 9.0, "en:b": 5.0, "en:c": 1.0}), hits({"en:b": 0.75, "en:d": 0.5, "en:a": 0.25})]
    assert listed(weighted_scores(lists, (1, 1))) == [("en:b", 1.5), ("en:a", 1.0), ("en:d", 0.5), ("en:c", 0.0)]
    assert listed(weighted_scores(lists, (3, 1))) == [("en:a", 3.0), ("en:b", 2.5), ("en:d", 0.5), ("en:c", 0.0)]


def test_a_list_that_prefers_nothing_adds_nothing_and_ties_rank_by_descending_id() -> None:
    lists = [hits({"en:a": 2.0, "en:b": 2.0}), hits({"en:a": 1.0, "en:c": 0.0}), hits({"de:x": 7.0})]
    assert listed(weighted_scores(lists, (5, 1, 9))) == [("en:a", 1.0), ("en:c", 0.0), ("en:b", 0.0), ("de:x", 0.0)]
    # both are first once and second once
    pair = [hits({"en:a": 2.0, "en:b": 1.0}), hits({"en:b": 2.0, "en:a": 1.0})]
    assert [key for key, _ in listed(reciprocal_ranks(pair, 60))] == ["en:b", "en:a"]


LISTS = st.lists(
    st.dictionaries(st.sampled_from([f"en:{n}" for n in range(8)]), st.integers(0, 3).map(float)),
    min_size=2,
    max_size=5,
)


@given(LISTS, st.randoms(use_true_random=False), st.integers(0, 60))
def test_reciprocal_ranks_of_any_lists(lists: list[Scores], random: Any, k: int) -> None:
    found = reciprocal_ranks([hits(scores) for scores in lists], k)
    shuffled = random.sample(lists, len(lists))
    again = reciprocal_ranks([hits(scores) for scores in shuffled], k)
    np.testing.assert_array_equal(found.ids, again.ids)  # whatever the order of the rankings
    np.testing.assert_array_equal(found.scores, again.scores)
    pairs = listed(found)
    assert sorted(key for key, _ in pairs) == sorted({key for scores in lists for key in scores})
    assert pairs == sorted(pairs, key=lambda pair: (pair[1], pair[0]), reverse=True)
    tops = {max(scores, key=lambda key: (scores[key], key)) for scores in lists if scores}
    if len(tops) == 1 and all(lists):
        assert pairs[0][0] in tops


@given(LISTS)
def test_one_ranking_twice_is_that_ranking(lists: list[Scores]) -> None:
    for scores in lists:
        alone = [key for key, _ in listed(hits(scores))]
        assert [key for key, _ in listed(reciprocal_ranks([hits(scores)] * 2, 60))] == alone
        assert [key for key, _ in listed(weighted_scores([hits(scores)] * 2, (1, 2)))] == alone


DOCUMENTS = {
    "en": {"0": "iron is heavy", "1": "water is wet", "2": "the moon is round"},
    "de": {"0": "eisen ist schwer", "1": "wasser ist nass", "2": "der mond ist rund", "3": "nass ist auch eis"},
}


def run_lines(run: dict[str, Scores]) -> str:
    return "".join(f"{query} Q0 {key} 1 {score} x\n" for query, found in run.items() for key, score in found.items())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Every document is a query for itself and what says the same, so the own document is the most alike by words."""
    rows = [(key, language, text, key) for language, of in DOCUMENTS.items() for key, text in of.items()]
    ids, languages, texts, items = (list(column) for column in zip(*rows, strict=True))
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.table({"id": ids, "lang": languages, "text": texts}), folder / "documents.parquet")
    queries = {"id": [f"q{key}" for key in ids], "lang": languages, "text": texts, "item": items}
    pq.write_table(pa.table(queries), folder / "queries.parquet")
    rng = np.random.default_rng(0)
    documents = [f"{language}:{key}" for language, of in DOCUMENTS.items() for key in of]
    run = {
        f"{x}:q{key}": dict(zip(documents, rng.random(7).tolist(), strict=True)) for x in DOCUMENTS for key in "0123"
    }
    del run["en:q3"]
    (tmp_path / "dense.trec").write_text(run_lines(run))
    return tmp_path


def config(folder: Path, **changes: Any) -> EvaluateConfig:
    values = {"task": "world-facts", "data": f"{folder}/data", "out": f"{folder}/out", "encoder": {"model": "dense"}}
    return EvaluateConfig.model_validate({**values, **changes})


def lists_of(uri: Path) -> dict[str, Scores]:
    with open(uri) as file:
        found: dict[str, Scores] = pytrec_eval.parse_run(file)
    return found


def order(scores: Scores, language: str = "") -> list[str]:
    chosen = {key: np.float32(score) for key, score in scores.items() if key.startswith(language)}
    return sorted(chosen, key=lambda key: (chosen[key], key), reverse=True)


def by_hand(lists: Sequence[Sequence[str]]) -> list[str]:
    """Reciprocal rank fusion in plain Python."""
    found: Scores = {}
    for keys in lists:
        for rank, key in enumerate(keys, start=1):
            found[key] = found.get(key, 0.0) + 1 / (60 + rank)
    return sorted(found, key=lambda key: (np.float32(found[key]), key), reverse=True)


def test_an_evaluation_fuses_each_pool_on_its_own(data: Path) -> None:
    """BM25 and a run: the lists, and every measure that does not look behind them, are those of the lists by hand."""
    run = str(data / "dense.trec")
    words = evaluate(config(data, encoder={"model": "bm25"}, out=f"{data}/words"))
    fused = evaluate(config(data, run=run, fuse=["bm25"]))
    assert fused["fused"] == {
        "rankings": [run, "bm25"], "fusion": "rrf", "rrf_k": 60, "depth": 100,
    }  # fmt: skip
    assert (words["fused"], words["reranked"], fused["reranked"]) == (None, None, None)
    dense, expected = lists_of(data / "dense.trec"), {}
    for name in ("run", "run.monolingual"):
        bm25, found = lists_of(data / f"words/{name}.trec"), lists_of(data / f"out/{name}.trec")
        for query in bm25:
            language = query[:2] if name == "run.monolingual" else ""
            # documents without a word of the query are in BM25's whole ranking, and not in what is fused
            matching = {key: score for key, score in bm25[query].items() if score > 0}
            expected[name, query] = by_hand([order(dense[query], language), order(matching)])
            assert order(found[query]) == expected[name, query]
    rows = pq.read_table(data / "out/per_query.parquet").to_pylist()
    assert {row["setting"] for row in rows} == {"monolingual", "cross-lingual", "multilingual"}
    for row in rows:
        if row["setting"] == "cross-lingual":  # no word in common: the run's order alone
            fused_list = order(dense[row["query"]], row["pool"])
        else:
            fused_list = expected["run" if row["pool"] == "all" else "run.monolingual", row["query"]]
        relevant = {key for key in fused_list if key.endswith(f":{row['item']}")}
        assert row["ranks"] == [place for place, key in enumerate(fused_list, start=1) if key in relevant]
        assert row["rank_distance"] is row["max_rank"] is None  # of lists, whose ends are not known
    assert fused["settings"]["multilingual"]["rank_distance"] is None
    assert fused["settings"]["multilingual"]["bias"]["complete@10"] == 1.0
    # a fused list is a run like any other
    again = evaluate(config(data, run=f"{data}/out/run.trec", settings=["multilingual"], out=f"{data}/again"))
    assert again["settings"]["multilingual"]["map"] == fused["settings"]["multilingual"]["map"]


def test_weights_and_another_fusion_are_another_evaluation(data: Path) -> None:
    run = str(data / "dense.trec")
    changes = {"encoder": {"model": "bm25"}, "fuse": [run], "settings": ["monolingual"]}
    found = evaluate(config(data, **changes, fusion="weighted", fusion_weights=[1, 1e-6]))
    assert found["fused"]["weights"] == [1.0, 1e-6]
    assert found["settings"]["monolingual"]["map"] == 1.0  # as BM25 alone
    assert evaluate(config(data, **changes, fusion="weighted", fusion_weights=[1, 1e-6])) == found
    for other in ({"fusion": "weighted", "fusion_weights": [1, 2]}, {}, {"rrf_k": 1}):
        with pytest.raises(UserError, match="already holds another run: fusion"):
            evaluate(config(data, **changes, **other))
    with pytest.raises(UserError, match="already holds another run: fuse"):
        evaluate(config(data, encoder={"model": "bm25"}, settings=["monolingual"]))
    (data / "dense.trec").write_text(run_lines({"en:q0": {"en:0": 1.0}}))
    with pytest.raises(UserError, match="already holds another run: fuse_versions"):
        evaluate(config(data, **changes, fusion="weighted", fusion_weights=[1, 1e-6]))


def test_an_evaluation_without_fusion_is_the_one_it_was_before_there_was_any(data: Path) -> None:
    evaluate(config(data, encoder={"model": "bm25"}))
    claimed = json.loads((data / "out/run.json").read_text())
    assert not [name for name in claimed if "fus" in name or "rrf" in name or "rerank" in name]


def test_the_query_itself_is_left_out_before_lists_are_fused(tmp_path: Path) -> None:
    """Its own score, the highest by far, would squeeze those of the others."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    texts = {"d0": "a b c d", "d1": "a b c", "d2": "a b", "d3": "a", "d4": "e"}
    for name in ("corpus", "queries"):
        some = texts if name == "corpus" else {"d0": texts["d0"]}
        lines = [json.dumps({"_id": key, "text": text}) for key, text in some.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nd0\td2\t1\n")
    (tmp_path / "x.trec").write_text(run_lines({"en:d0": {"en:d0": 90, "en:d3": 3, "en:d2": 2.5, "en:d4": 1}}))
    changes = {"task": f"beir:{folder}", "data": None, "run": f"{tmp_path}/x.trec", "fuse": ["bm25"]}
    found = evaluate(config(tmp_path, **changes, fusion="weighted", fusion_weights=[1, 0.5]))
    # the run's d3 1, d2 .75, d4 0; and half of BM25's d1 1, d3 0 with d2 in between
    lists = lists_of(tmp_path / "out/run.monolingual.trec")["en:d0"]
    assert (lists["en:d1"], lists["en:d3"], lists["en:d4"]) == (0.5, 1.0, 0.0)
    assert 0.75 < lists["en:d2"] < 1.25
    assert "en:d0" not in lists and found["left_out"]["identical_ids"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--fusion weighted", "--fuse names nothing to fuse"),
        ("--fuse bm25 --fusion weighted", "--fusion-weights: 2 rankings want 2 weights, that of --model first, not 0"),
        ("--fuse bm25 --fusion weighted --fusion-weights 1 0", "--fusion-weights: input should be greater than 0"),
        ("--fuse bm25 --fusion-weights 1 2", "--fusion-weights: --fusion rrf has none"),
        ("--fuse bm25 --fusion weighted --fusion-weights 1 2 --rrf-k 9", "--rrf-k: --fusion weighted has none"),
        ("--fuse bm25 bm25", "--fuse bm25: it is among the fused rankings already"),
        ("--rerank-depth 5", "--rerank-depth: --rerank names no model"),
    ],
)
def test_mistakes_on_the_command_line(arguments: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse(EvaluateConfig, ["--task", "xquad", "--model", "m", "--out", "o", *arguments.split()])


def test_mistakes_in_what_is_fused(data: Path) -> None:
    bm25 = {"encoder": {"model": "bm25"}}
    with pytest.raises(UserError, match=r"--fuse .*/nothing.trec: there is no such file"):
        evaluate(config(data, **bm25, fuse=[f"{data}/nothing.trec"]))
    (data / "other.trec").write_text(run_lines({"en:x": {"en:0": 1.0}}))
    with pytest.raises(UserError, match=r"--fuse .*other.trec: none of its queries is one of world-facts, such as"):
        evaluate(config(data, **bm25, fuse=[f"{data}/other.trec"]))
    with pytest.raises(UserError, match=r"--run .*/nothing.trec: there is no such file"):
        evaluate(config(data, run=f"{data}/nothing.trec"))
    with pytest.raises(UserError, match="dense.trec"):
        evaluate(config(data, **bm25, fuse=[f"{data}/dense.trec"], out=f"{data}/dense.trec"))


def test_pooled_lists_are_merged_from_those_of_languages(data: Path) -> None:
    """What a fused ranker gives of each language makes the pool's list again."""
    keys = ["en:q0", "de:q1"]
    ranker = RunRanker(str(data / "dense.trec"))
    rows = [ByRow(ranker, np.array(keys, dtype=object), keys) for _ in range(2)]
    fused = FusedRanker(rows, lambda lists: reciprocal_ranks(lists, 60), 5, pooled=True)
    found = fused.search_languages(np.array([0, 1]), 9)
    whole = merge(ranker.search_languages(np.array(keys, dtype=object), 9), 5, 2)
    assert merge(found, 9, 2).ids[:, :5].tolist() == whole.ids.tolist()
    above = fused.ranks(np.array([1]), [whole.ids[1].tolist()])
    assert (1 + above.counts.sum(axis=1)).tolist() == [1, 2, 3, 4, 5]
