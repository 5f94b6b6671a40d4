"""The claims say what the figures show, and no more: each can fail alone."""

from __future__ import annotations

from typing import Any

import pytest

from hbt_ray.study.paper import paper_claims
from hbt_ray.study.runs import Run

Figures = dict[str, tuple[float | None, float | None, float | None, float | None]]
GOOD: Figures = {
    "x-x": (0.80, 0.05, 0.10, 3000.0),
    "x-y": (0.60, 0.50, 0.40, 700.0),
    "hybrid": (0.73, 0.46, 0.41, 900.0),
}


def judge(figures: Figures, **verdicts: str) -> list[bool]:
    return [claim.shown for claim in found(figures, **verdicts)]


def found(figures: Figures, baseline: str = "x-x", **verdicts: str) -> list[Any]:
    """`cross` and `multi`: what the test said of hybrid there."""
    runs = [
        Run(
            name,
            {
                "task": "world-facts",
                "settings": {
                    "monolingual": {"map": mono},
                    "cross-lingual": {"map": cross},
                    "multilingual": {"map": multi, "rank_distance": distance},
                },
            },
        )
        for name, (mono, cross, multi, distance) in figures.items()
    ]
    lines = [
        {
            "system": system,
            "setting": setting,
            "measure": "map",
            "difference": 0.4123,
            "p_holm": 0.0012,
            "verdict": word,
        }
        for setting, name in (("cross-lingual", "cross"), ("multilingual", "multi"))
        for system, word in (("x-y", "worse"), ("hybrid", verdicts.get(name, "better")))
    ]
    return paper_claims(runs, {"baseline": baseline, "items": 120, "comparisons": lines})


def changed(name: str, place: int, value: float | None) -> Figures:
    one, two, three, four = (value if number == place else figure for number, figure in enumerate(GOOD[name]))
    return {**GOOD, name: (one, two, three, four)}


def test_all_of_the_pattern_is_shown_and_says_its_figures() -> None:
    assert judge({**GOOD}) == [True] * 6
    texts = [str(claim) for claim in found({**GOOD})]
    assert all(text.startswith("Shown: ") for text in texts)
    for text, figures in zip(
        texts,
        (("0.730 and 0.800", "91%"), ("0.460 and 0.500", "92%"), ("0.410", "0.100 of x-x and 0.400 of x-y"),
         ("900 and 3,000", "30%"), ("cross-lingual", "+0.412", "0.0012", "120 facts"), ("multilingual",)),
        strict=True,
    ):  # fmt: skip
        assert all(figure in text for figure in figures), text


@pytest.mark.parametrize(
    ("number", "figures"),
    [
        (0, changed("hybrid", 0, 0.719)),
        (1, changed("hybrid", 1, 0.449)),
        (2, changed("x-y", 2, 0.41)),
        (2, changed("x-x", 2, 0.42)),
        (3, changed("hybrid", 3, 1000.0)),
        (0, changed("x-x", 0, None)),
        (3, changed("hybrid", 3, None)),
    ],
)
def test_each_claim_fails_alone(number: int, figures: Figures) -> None:
    assert judge(figures) == [place != number for place in range(6)]
    assert str(found(figures)[number]).startswith("NOT shown: ")


def test_a_difference_within_chance_or_for_the_worse_is_none() -> None:
    assert judge({**GOOD}, cross="no difference shown") == [True, True, True, True, False, True]
    assert judge({**GOOD}, multi="worse") == [True, True, True, True, True, False]
    assert judge({**GOOD}, baseline="x-y") == [True, True, True, True, False, False]


def test_a_specialist_that_found_nothing_is_divided_by_nothing() -> None:
    figures = changed("x-y", 1, 0.0)
    assert judge(figures)[1] and "of nothing" in str(found(figures)[1])


def test_without_one_of_the_three_there_is_nothing_to_hold_the_claims_against() -> None:
    with pytest.raises(KeyError, match="x-y"):
        judge({name: row for name, row in GOOD.items() if name != "x-y"})
