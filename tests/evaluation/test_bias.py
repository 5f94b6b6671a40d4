"""Every measure of language bias, and of answers, is right on one tiny run; those of bias also on random ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.evaluation import first_document, rankings
from hbt_ray.evaluation.bias.agreement import rank_correlation
from hbt_ray.evaluation.bias.peer import Relevant, peer, peer_published
from hbt_ray.evaluation.bias.per_query import COLUMNS, heads
from hbt_ray.evaluation.bias.ranks import complete, max_rank
from hbt_ray.evaluation.bias.shares import language_preference
from hbt_ray.evaluation.run_file import RunRanker
from hbt_ray.evaluation.tasks.base import Task

# each query's list, best first; a query is `lang:item`
RUN = {
    "de:1": "de:1 de:2 en:1 en:2 fr:1",
    "en:1": "de:1 en:1 en:2 de:2",
    "fr:1": "fr:1 de:1",
    "en:2": "de:3 en:3 fr:1 fr:2 fr:3 fr:4 fr:5 de:4",
    "en:3": "de:1",
    "en:4": "fr:1 fr:2 en:5 fr:3 fr:4 fr:5 de:1 de:2 de:3 de:4 en:1 en:2",
}
ITEMS = {"1": "de:1 de:2 en:1 en:2", "2": "de:3 de:4 en:3 en:4", "4": "en:5 de:5"}  # relevant documents
TEXTS = {"de:1": "Das ist der Hund.", "de:3": "Ein Haus am Fluss.", "en:1": "A cat.", "en:3": "House by the lake!"}
ANSWERS: dict[str, dict[str, tuple[str, ...]]] = {
    "1": {"de": ("ein Hund",), "en": ("dog", "the Dogs")},
    "2": {"de": ("Haus am See",), "en": ("lake house",)},
}
NONE = None
# the ranks of `en:4` are 3 and none at all: with the reference, both are 3
EXPECTED = {
    "rank_distance": {"de:1": 3, "en:1": 3, "fr:1": NONE, "en:2": NONE, "en:3": NONE, "en:4": NONE},
    "max_rank": {"de:1": 4, "en:1": 4, "fr:1": NONE, "en:2": NONE, "en:3": NONE, "en:4": NONE},
    "complete@10": {"de:1": 1, "en:1": 1, "fr:1": 0, "en:2": 0, "en:3": NONE, "en:4": 0},
    # the upper tails of chi-square with one degree of freedom at 2.4, 0, 1, 147 / 254 and 1
    "peer@20": {"de:1": 0.121335, "en:1": 1, "fr:1": 0.317311, "en:2": 0.446807, "en:3": NONE, "en:4": 0.317311},
    # and at 2.4, 0, 1, 3 / 30
    "peer_published@20": {"de:1": 0.121335, "en:1": 1, "fr:1": 0.317311, "en:2": 0.751830, "en:3": 0, "en:4": NONE},
    # correlations: de-en 0.7, de-fr and en-fr -2 / sqrt(80)
    "mrc@100": {"de:1": 0.238197, "en:1": 0.238197, "fr:1": -0.223607, "en:2": NONE, "en:3": NONE, "en:4": NONE},
    "language_preference@10": {"de:1": 2 / 5 - 2 / 4, "en:1": 0, "fr:1": 1 / 2, "en:2": 1 / 8 - 2 / 4, "en:3": NONE,
                               "en:4": 1 / 10 - 1 / 2},
    # the first document of en:1 and en:2 is German, and that of fr:1 is French, in which item 1 has no answer
    "answer@1": {"de:1": 1, "en:1": 1, "fr:1": 0, "en:2": 0, "en:3": NONE, "en:4": NONE},
    "f1@1": {"de:1": 1, "en:1": 1, "fr:1": 0, "en:2": 2 / 3, "en:3": NONE, "en:4": NONE},
    "abs_language_preference@10": {"de:1": 0.1, "en:1": 0, "fr:1": 0.5, "en:2": 0.375, "en:3": NONE, "en:4": 0.4},
}  # fmt: skip


def tiny(folder: Path) -> Task:
    """The task of RUN, which is written to the folder; to item 3 nothing is relevant."""
    lines = [f"{q} Q0 {d} 1 {-i} x" for q, row in RUN.items() for i, d in enumerate(row.split())]
    (folder / "run").write_text("\n".join(lines))
    relevant = {item: dict.fromkeys(documents.split(), 1) for item, documents in ITEMS.items()} | {"3": {"de:1": 0}}
    documents = sorted({d for row in RUN.values() for d in row.split()} | set(" ".join(ITEMS.values()).split()))
    items = [query[3:] for query in RUN]
    return Task(
        "tiny",
        pa.table({"id": list(RUN), "lang": [query[:2] for query in RUN], "text": list(RUN), "item": items}),
        pa.table({
            "id": documents,
            "lang": [key[:2] for key in documents],
            "text": [TEXTS.get(key, key) for key in documents],
        }),
        {query: relevant[query[3:]] for query in RUN},
        ("monolingual", "multilingual"),
        ("map",),
        ANSWERS,
    )  # fmt: skip


def ranked(folder: Path) -> rankings.Rankings:
    task = tiny(folder)
    found = rankings.rank(task, np.array(list(RUN), dtype=object), RunRanker(str(folder / "run")), 100)
    return first_document.with_answers(task, found)


def test_every_measure_on_a_tiny_run(tmp_path: Path) -> None:
    rows = ranked(tmp_path).table.to_pylist()
    whole = [row for row in rows if row["setting"] == "multilingual"]
    assert set(EXPECTED) == {*COLUMNS, *first_document.COLUMNS}
    for name, values in EXPECTED.items():
        assert {row["query"]: row[name] for row in whole} == pytest.approx(values, abs=1e-6), name
    alone = {row["query"]: (row["answer@1"], row["f1@1"]) for row in rows if row["setting"] == "monolingual"}
    assert alone == {"de:1": (1, 1), "en:1": (0, 0), "en:2": (0, 1 / 2), "en:4": (NONE, NONE)}
    assert all(row[name] is None for row in rows if row["setting"] == "monolingual" for name in COLUMNS)


def test_averages_are_over_the_queries_of_a_language_and_then_over_languages(tmp_path: Path) -> None:
    summary = rankings.summarise(ranked(tmp_path).table, ["monolingual", "multilingual"])
    found = rankings.settings_of(summary, ["recall@10"])["multilingual"]
    assert set(found["bias"]) == set(found["bias_by_language"]) == set(COLUMNS) - {"rank_distance"}
    assert found["rank_distance_by_language"] == {"de": 3, "en": 3, "fr": None}
    by_language = {"de": -0.1, "en": (0 - 0.375 - 0.4) / 3, "fr": 0.5}
    assert found["bias_by_language"]["language_preference@10"] == pytest.approx(by_language)
    assert found["bias"]["language_preference@10"] == pytest.approx(np.mean(list(by_language.values())))


def test_heads_are_numbers_of_documents_and_end_at_a_hundred() -> None:
    """Two pieces of lists, of which the second is longer; no list is of query 1."""
    short = np.array([["de:b", "en:a", ""]], dtype=object)
    long = np.array([["en:a", *(f"fr:{i}" for i in range(100))]], dtype=object)
    found = heads([(np.array([2]), short), (np.array([0]), long)], 3)
    assert found.documents.tolist() == [[1, *range(2, 101)], [-1] * 100, [0, 1, *[-1] * 98]]
    assert found.languages.tolist() == ["de", "en", *["fr"] * 99]


def test_more_relevant_documents_than_places_are_never_complete() -> None:
    offsets, ranks, relevant = np.array([0, 10, 21, 22]), np.array([*range(1, 11), *range(1, 12), 10]), [10, 11, 2]
    assert complete(offsets, ranks, np.array(relevant), 10).tolist() == [1, 0, 0]
    assert max_rank(offsets, ranks, np.array(relevant)).tolist() == pytest.approx([10, 11, np.nan], nan_ok=True)


def test_a_language_without_documents_cannot_be_preferred() -> None:
    """Nor can one be of which nothing is relevant; an empty list has none of the query's language."""
    top, asked = np.array([[0, 1], [0, 1], [-1, -1], [0, -1]]), np.array([-1, 0, 0, 0])
    found = language_preference(top, asked, np.array([0, 0, 1, 0]), np.array([2, 0, 2, 4]))
    assert found == pytest.approx([np.nan, np.nan, -0.5, 1], nan_ok=True)


def relevant(queries: Sequence[str]) -> Relevant:
    """Documents as `grade, letter of the language, rank`, rank 0 for one that was never found; queries from 0."""
    return of_rows(
        [(q, int(d[0]), ord(d[1]), int(d[2:]) or np.inf) for q, row in enumerate(queries) for d in row.split()]
    )


def of_rows(rows: Sequence[tuple[int, int, int, float]]) -> Relevant:
    query, grade, language, rank = np.array(rows).reshape(-1, 4).T
    return Relevant(query.astype(np.int64), grade.astype(np.int64), language.astype(np.int64), rank)


def test_published_peer_is_that_of_the_reference_code() -> None:
    """What github.com/hltcoe/peer_measure at cb6fb77 gives for PEER(weights={0: 0, 1: .25, 2: .25, 3: .5})@10."""
    weights = {1: 0.25, 2: 0.25, 3: 0.5}
    expected = {
        "3a10 2b1 2c0 1b0 2b0 3a0 1a0 3a0 1c9 1c0": 0.7715076954748967,
        "1a6 1b2 3c7 2c17 1a13 3c14 3c0 1c0 1b0 3b0": 0.6667387343722251,
        "1a7 2c0 3b11 3c0 1b6 2b0 1c0 3a0 2a2 1b0": 0.6551797592440473,
        "2c2 1c0 2c0 1b0 1b0 2b0 2b0 1a0 3a1 2c5": 0.8108362522871898,
        "3c14 1b7 1b8 3a1 2c0 1a0 3a0 3b10 1b0 3b3": 0.6808840438357828,
        "3c5 3b0 1b22 3b8 2b0 2c1 1c13 1a24 2a11 1c18": 0.6894131614790971,
    }
    assert peer_published(relevant(list(expected)), 6, 10, weights).tolist() == pytest.approx(list(expected.values()))


def naive_p(rows: Sequence[tuple[int, float]], cutoff: int, behind: float) -> float:
    """The formula, written out for one grade of one query: languages and ranks."""
    if all(rank > cutoff for _, rank in rows) or len({language for language, _ in rows}) == 1:
        return 1.0
    placed = [(language, rank if rank <= cutoff else behind) for language, rank in rows]
    ranks = np.array([rank for _, rank in placed])
    between = 0.0
    for group in {language for language, _ in placed}:
        own = [rank for language, rank in placed if language == group]
        between += len(own) * (np.mean(own) - ranks.mean()) ** 2
    spread = ((ranks - ranks.mean()) ** 2).sum()
    if spread == 0:
        return float("nan")
    groups = len({language for language, _ in placed})
    return float(scipy.stats.chi2.sf((len(ranks) - 1) * between / spread, groups - 1))


DOCUMENTS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 40)), max_size=12, unique_by=lambda row: row[2]
)  # grade, language and rank; those from 31 on were never found


@given(st.lists(DOCUMENTS, min_size=1, max_size=4), st.integers(1, 30))
def test_peer_is_its_formula(queries: list[list[tuple[int, int, int]]], cutoff: int) -> None:
    rows = [(q, grade, language, rank if rank <= 30 else np.inf) for q, row in enumerate(queries)
            for grade, language, rank in row]  # fmt: skip
    found = of_rows(rows)
    weights = {1: 0.5, 2: 0.0, 3: 0.5}
    corrected = peer(found, len(queries), cutoff, weights)
    published = peer_published(found, len(queries), cutoff, weights)
    for q in range(len(queries)):
        levels = {grade: [(lang, rank) for p, g, lang, rank in rows if p == q and g == grade] for grade in weights}
        ours, theirs = [], 0.0
        for grade, level in levels.items():
            unseen = sum(rank > cutoff for _, rank in level)
            if level and weights[grade]:
                ours.append(naive_p(level, cutoff, cutoff + (unseen + 1) / 2))
            if level:  # 0 / 0 counts in the reference although the grade has no weight
                theirs += weights[grade] * naive_p(level, cutoff, len(level) + (unseen + 1) / 2)
        assert corrected[q] == pytest.approx(np.mean(ours) if ours else np.nan, nan_ok=True)
        assert published[q] == pytest.approx(theirs, nan_ok=True)


@given(st.permutations(range(1, 21)))
def test_peer_says_nothing_about_one_document_a_language(ranks: list[int]) -> None:
    documents = " ".join(f"1{letter}{rank}" for letter, rank in zip("abcdefghijk", ranks, strict=False))
    expected = float(scipy.stats.chi2.sf(10, 10))
    assert peer(relevant([documents]), 1, 20, {1: 1.0}).tolist() == pytest.approx([expected])


def spearman(left: Sequence[int], right: Sequence[int]) -> float:
    """Over the documents in either list; scipy gives ties their mean rank."""
    if not left or not right:
        return 0.0
    union = sorted({*left, *right})
    if len(union) == 1:
        return 1.0
    ranks = [[row.index(key) if key in row else len(row) for key in union] for row in (left, right)]
    return float(scipy.stats.spearmanr(*ranks).statistic)


LISTS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.lists(st.integers(0, 9), max_size=6, unique=True)),
    min_size=1,
    max_size=7,
)  # item, language and documents of each query


@given(LISTS)
def test_rank_correlation_is_scipys_spearman(queries: list[tuple[int, int, list[int]]]) -> None:
    lists = np.array([[*row, *[-1] * (6 - len(row))] for _, _, row in queries])
    items, languages = (np.array([query[i] for query in queries]) for i in (0, 1))
    found = rank_correlation(lists, items, languages)
    for (item, language, row), value in zip(queries, found, strict=True):
        others = [other for i, lang, other in queries if i == item and lang != language]
        expected: Any = np.mean([spearman(row, other) for other in others]) if others else np.nan
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_lists_without_a_common_document() -> None:
    found = rank_correlation(np.arange(20).reshape(2, 10), np.array([0, 0]), np.array([0, 1]))
    assert found == pytest.approx([-600 / 699] * 2)
