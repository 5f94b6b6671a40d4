"""Published scores: every one is complete, and they agree with what their sources derive from them."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files

import pytest

from hbt_ray.config import Setting
from hbt_ray.study.anchors import anchors, read_anchors
from hbt_ray.study.known import model_shapes

PAPER = "arXiv 2408.10536, Table 1"
FILE = (files("hbt_ray.study") / "anchors.yaml").read_text("utf-8")


def of_paper(task: str, model: str, strategy: str, setting: Setting, measure: str) -> float:
    (anchor,) = [found for found in anchors(task, model, strategy, setting, measure) if found.source == PAPER]
    return anchor.value


def test_every_score_is_complete_and_there_once() -> None:
    for anchor in anchors():
        assert anchor.value <= 1 or anchor.measure == "rank_distance", anchor
        assert anchor.source.startswith(("arXiv ", "github.com/", "card of ", "README of ")), anchor
    keys = Counter(tuple(value for name, value in anchor if name not in {"value", "differs"}) for anchor in anchors())
    assert keys.most_common(1)[0][1] == 1
    assert len(keys) > 300


def test_what_is_asked_for_is_found() -> None:
    assert len(anchors("xquad-r", "XLM-R", "hybrid", "multilingual", "map")) == 1 + 11  # and by language
    assert {anchor.task for anchor in anchors(model="intfloat/multilingual-e5-base")} >= {"miracl", "mteb:CUREv1"}
    assert {anchor.strategy for anchor in anchors("mlqa-r")} == {"x-x", "x-y", "hybrid", "en-en", "x-x mixed"}
    assert anchors("xquad-r", "nobody") == []
    shapes = {shape.model for shape in model_shapes()}
    assert {"BAAI/bge-m3", "sentence-transformers/LaBSE"} <= shapes & {anchor.model for anchor in anchors()}


@pytest.mark.parametrize(
    ("task", "model", "reduction"),
    [("xquad-r", "XLM-R", 30.1), ("xquad-r", "LaBSE", 15.4), ("mlqa-r", "XLM-R", 21.0), ("mlqa-r", "LaBSE", 13.4)],
)
def test_bias_reductions_are_those_the_paper_states(task: str, model: str, reduction: float) -> None:
    ours, theirs = (of_paper(task, model, name, "multilingual", "rank_distance") for name in ("hybrid", "x-x"))
    assert 100 * (1 - ours / theirs) == pytest.approx(reduction, abs=0.051)


@pytest.mark.parametrize(
    ("setting", "measure", "tolerance"),
    [("monolingual", "map", 1e-4), ("cross-lingual", "map", 1e-4), ("multilingual", "map", 1e-4),
     ("multilingual", "rank_distance", 0.1)],
)  # fmt: skip
def test_scores_by_language_have_the_mean_of_the_table(setting: Setting, measure: str, tolerance: float) -> None:
    by_language = [found.value for found in anchors("xquad-r", "XLM-R", "hybrid", setting, measure) if found.subset]
    assert len(by_language) == 11
    expected = of_paper("xquad-r", "XLM-R", "hybrid", setting, measure)
    assert sum(by_language) / 11 == pytest.approx(expected, abs=tolerance)


def test_what_the_paper_does_not_claim() -> None:
    """Hybrid is not the best everywhere."""
    assert of_paper("xquad-r", "XLM-R", "hybrid", "multilingual", "map") < of_paper(
        "xquad-r", "XLM-R", "x-y", "multilingual", "map"
    )
    for model in ("XLM-R", "LaBSE"):
        hybrid, monolingual = (anchors("miracl", model, name, measure="ndcg@10")[0] for name in ("hybrid", "x-x"))
        assert hybrid.value < monolingual.value


def test_means_over_subsets_are_those_of_their_parts() -> None:
    of = {(found.model, found.setting): found.value for found in anchors("mteb:MLQARetrieval")}
    models = {model for model, _ in of}
    assert len(models) == 20
    for model in models:
        mean = (7 * of[model, "monolingual"] + 42 * of[model, "cross-lingual"]) / 49
        assert of[model, None] == pytest.approx(mean, abs=0.0011), model


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("[0.7918, 0.6737,", "[0.7918,", "XLM-R: 6 values in 7 columns"),
        ("  source: arXiv 2408.10536, Table 1\n", "", "source\n.*Field required"),
        ("source: arXiv 2408.10536, Table 1", "source: ''", "source\n.*at least 1 character"),
        ("measure: map}", "measure: mAP}", "measure\n"),
        ("setting: multilingual", "setting: pooled", "setting\n"),
    ],
)
def test_an_incomplete_table_is_refused(before: str, after: str, message: str) -> None:
    assert before in FILE
    with pytest.raises(ValueError, match=message):
        read_anchors(FILE.replace(before, after, 1))
