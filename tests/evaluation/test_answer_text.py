"""Answers in passages: what counts as a token in which language, and the best span."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray.evaluation import answers
from hbt_ray.evaluation.answer_text import best_f1, holds, tokens


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("The U.S. Army, in 1900–1914!", "en", ["u", "s", "army", "in", "1900", "1914"]),
        ("Die Hunde der Straße", "de", ["hunde", "straße"]),
        ("die Hunde", "en", ["die", "hunde"]),  # an article in German only
        ("$5 und 3 €", "de", ["5", "und", "3", "€"]),
        ("在1949年,Mao说", "zh", ["在", "1949", "年", "mao", "说"]),
        ("ที่ไทย", "th", ["ที่", "ไ", "ท", "ย"]),  # a mark stays with its letter
        ("서울은 큰", "ko", ["서", "울", "은", "큰"]),
        ("المدينة والقاهرة", "ar", ["مدينة", "والقاهرة"]),
        ("हिन्दी में।", "hi", ["हिन्दी", "में"]),
        ("cafe\u0301", "fr", ["café"]),
        ("The", "en", []),
    ],
)
def test_tokens(text: str, language: str, expected: list[str]) -> None:
    assert tokens(text, language) == expected


@pytest.mark.parametrize(
    ("answer", "passage", "language", "held"),
    [
        ("the Beatles", "He heard Beatles.", "en", True),
        ("York", "Yorkshire", "en", False),
        ("1900", "1900–1914", "en", True),
        ("東京", "彼は東京に行った", "ja", True),
        ("京東", "彼は東京に行った", "ja", False),
        ("서울", "서울은 크다", "ko", True),
        ("the", "the end", "en", False),
    ],
)
def test_what_a_passage_holds(answer: str, passage: str, language: str, held: bool) -> None:
    assert holds(tokens(passage, language), tokens(answer, language)) is held


@pytest.mark.parametrize(
    ("answer", "text", "held"),
    [
        ("New York", "in new  YORK, 1900", True),
        ("York", "Yorkshire", False),
        ("café", "the cafe\u0301.", True),
        ("$5", "costs $5.", True),
        ("5", "costs 5.5", True),
        ("हिन्दी", "यह हिन्दी है", True),
        ("हिन", "यह हिन्दी है", False),
    ],
)
def test_answers_are_whole_tokens(answer: str, text: str, held: bool) -> None:
    assert (answers.spaced(answer) in answers.spaced(text)) is held


WORDS = st.lists(st.sampled_from("abcd"), max_size=8)


@given(WORDS, WORDS)
def test_best_f1_is_that_of_the_best_span_of_the_answers_length(passage: list[str], answer: list[str]) -> None:
    spans = [passage[i : i + len(answer)] for i in range(max(1, len(passage) - len(answer) + 1))]
    scores = []
    for span in spans:
        common = (Counter(span) & Counter(answer)).total()
        precision, recall = common / max(1, len(span)), common / max(1, len(answer))
        scores.append(2 * precision * recall / (precision + recall) if common else 0)
    assert best_f1(passage, answer) == pytest.approx(max(scores))
    assert best_f1(passage, answer) == 1 or not holds(passage, answer)
