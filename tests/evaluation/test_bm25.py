"""BM25 in the place of a model: its words, and its rankings against the formula in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbt_ray.config import EvaluateConfig, EvaluatedEncoder, UserError
from hbt_ray.evaluation.bm25 import Bm25, collect
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.evaluation.words import words
from hbt_ray.search.ranking import merge

Documents = dict[str, str]
ENGLISH = {"en:0": "iron is heavy", "en:1": "water is wet"}
GERMAN = {"de:0": "eisen ist schwer", "de:1": "wasser ist nass"}
TEXTS = st.lists(st.sampled_from("abcde"), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Straße, STRASSE!", ["strasse", "strasse"]),
        ("क्या हिन्दी में?", ["क्या", "हिन्दी", "में"]),
        ("NASA在2012年", ["nasa", "2012", "在", "年"]),
        ("コンピューター", ["コン", "ンピ", "ピュ", "ュー", "ータ", "ター"]),
        ("ที่นี่", ["ที", "ี่", "่น", "นี", "ี่"]),
        ("...", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def formula(documents: Documents, query: str) -> dict[str, np.float32]:
    """BM25 as Lucene has it, Kamphuis et al. 2020, k1 0.9, b 0.4, of one pool."""
    counts = {key: Counter(text.split()) for key, text in documents.items()}
    mean = sum(sum(count.values()) for count in counts.values()) / len(counts)
    found = {}
    for key, count in counts.items():
        score = 0.0
        for word in sorted(query.split()):
            holding = sum(word in other for other in counts.values())
            if count[word]:
                idf = math.log(1 + (len(counts) - holding + 0.5) / (holding + 0.5))
                length = 1 - 0.4 + 0.4 * sum(count.values()) / mean
                score += idf * count[word] / (count[word] + 0.9 * length)
        found[key] = np.float32(score)
    return found


def ranked(scores: dict[str, np.float32]) -> list[str]:
    return sorted(scores, key=lambda key: (scores[key], key), reverse=True)


def table(documents: Documents) -> pa.Table:
    languages = [key.partition(":")[0] for key in documents]
    return pa.table({"id": list(documents), "lang": languages, "text": list(documents.values())})


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=8), st.lists(TEXTS, min_size=1, max_size=8), st.lists(TEXTS, min_size=1))
def test_rankings_are_those_of_the_formula(german: list[str], turkish: list[str], queries: list[str]) -> None:
    pools: dict[str, Documents] = {
        language: {f"{language}:{i}": text for i, text in enumerate(texts)}
        for language, texts in (("de", german), ("tr", turkish))
    }
    everything = pools["de"] | pools["tr"]
    asked = np.array(queries, dtype=object)
    for pooled in (False, True):
        ranker = Bm25(collect(table(everything)), pooled)
        lists = ranker.search_languages(asked, 3)
        above = ranker.ranks(asked, [list(everything)] * len(queries))
        assert ranker.languages == ("tr", "de")
        assert above.counts.shape == (len(queries) * len(everything), 2)
        for row, query in enumerate(queries):
            whole = formula(everything, query)
            for column, language in enumerate(ranker.languages):
                scores = {key: whole[key] for key in pools[language]} if pooled else formula(pools[language], query)
                order = ranked(scores)
                assert lists[language].ids[row].tolist() == order[:3]
                np.testing.assert_allclose(lists[language].scores[row], [scores[key] for key in order[:3]], rtol=1e-6)
                mine = (above.queries == row) & (above.languages == column)
                places = dict(zip(above.documents[mine], 1 + above.counts[mine, column], strict=True))
                assert places == {key: place for place, key in enumerate(order, start=1)}
            if pooled:
                of_query = above.queries == row
                sums = 1 + above.counts[of_query].sum(axis=1)
                assert [key for _, key in sorted(zip(sums, above.documents[of_query], strict=True))] == ranked(whole)
                assert merge(lists, 3, len(queries)).ids[row].tolist() == ranked(whole)[:3]


def test_documents_of_a_corpus_are_those_of_a_table(tmp_path: Path) -> None:
    documents = {"de:1": "Eisen ist schwer", "en:1": "Iron is heavy", "de:2": "Wasser"}
    stored = table(documents).set_column(0, "id", pa.array(["1", "1", "2"]))
    pq.write_table(stored, tmp_path / "corpus.parquet")
    here, there = collect(table(documents)), collect(CorpusAt(f"{tmp_path}/corpus.parquet"))
    assert here.ids.tolist() == there.ids.tolist() == ["en:1", "de:2", "de:1"]
    assert here.tokens == there.tokens


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [(key[3:], key[:2], text) for key, text in {**ENGLISH, **GERMAN}.items()]
    ids, languages, documents = (list(column) for column in zip(*rows, strict=True))
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"id": ids, "lang": languages, "text": documents}), tmp_path / "data/documents.parquet")
    queries = {"id": ids, "lang": languages, "text": documents, "item": ids}
    pq.write_table(pa.table(queries), tmp_path / "data/queries.parquet")
    return tmp_path


def test_an_evaluation_of_bm25_encodes_nothing(task: Path) -> None:
    config = EvaluateConfig(
        task="world-facts", data=f"{task}/data", out=f"{task}/out", encoder=EvaluatedEncoder(model="bm25")
    )
    results = evaluate(config)
    assert results["encoded"] == {"queries": 0, "documents": 0}
    assert results["counts"]["documents"] == 4
    assert results["settings"]["monolingual"]["map"] == 1.0
    # no word in common: all documents of the other language score 0, and the higher id is first
    assert results["settings"]["cross-lingual"]["by_pair"] == {"de-en": 0.75, "en-de": 0.75}
    for run, pool in (("run", {**GERMAN, **ENGLISH}), ("run.monolingual", GERMAN)):
        lines = [line.split() for line in (task / f"out/{run}.trec").read_text().splitlines()]
        found = {document: np.float32(score) for query, _, document, _, score, _ in lines if query == "de:0"}
        expected = formula(pool, GERMAN["de:0"])
        assert found == {key: pytest.approx(score, rel=1e-6) for key, score in expected.items()}
    assert evaluate(config) == results
    with pytest.raises(UserError, match="bm25 searches by words"):
        evaluate(config.model_copy(update={"encoder": EvaluatedEncoder(model="bm25", pooling="cls")}))
