"""Which languages of an index are meant by a tag. Needs no cluster."""

from __future__ import annotations

import pytest

from hbt_ray.config import UserError
from hbt_ray.search.ranking import pool


@pytest.mark.parametrize("tag", ["pt", "PT-BR", "pt-BR", "pt_br", "por"])
@pytest.mark.parametrize("spelled", ["pt", "pt-BR"])  # the second as an index made earlier has it
def test_any_spelling_finds_the_language_of_an_index(tag: str, spelled: str) -> None:
    assert pool({spelled: 2, "zho_Hans": 1}, [tag]) == [spelled]
    assert pool({spelled: 2, "zho_Hans": 1}, [tag, "zh-CN", tag]) == [spelled, "zho_Hans"]


def test_an_index_with_two_varieties_gives_the_one_that_is_named_or_both() -> None:
    rows = {"pt-BR": 2, "pt-PT": 1, "l0": 5, "de": 0}
    assert pool(rows, ["pt-PT"]) == ["pt-PT"]
    assert pool(rows, ["pt"]) == ["pt-BR", "pt-PT"]
    assert pool(rows, ["l0"]) == ["l0"]
    assert pool(rows, None) == ["pt-BR", "pt-PT", "l0"]
    for absent in ("fr", "de", "L0", "mul"):
        with pytest.raises(UserError, match=f"the index has no language {absent}; it has"):
            pool(rows, [absent])
