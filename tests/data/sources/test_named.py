"""Data sets by name."""

from __future__ import annotations

import pytest

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data.sources import named
from hbt_ray.data.sources.public import PUBLIC


@pytest.mark.parametrize("name", list(named.named()))
def test_every_entry_can_be_used(name: str) -> None:
    found = named.named()[name]
    assert found.reader in PUBLIC
    assert found.splits
    assert found.link.startswith("https://")
    for tag in (found.languages or {}).values():
        assert languages.normalize(tag) == tag
    if found.path and "*" not in found.path:
        assert found.path.endswith(PUBLIC[found.reader].suffixes)


def test_where_the_parts_are() -> None:
    mmarco = named.uris("mmarco", ["german", "dutch"])
    assert [uri.rsplit("/", 1)[1] for uri in mmarco] == ["german_collection.tsv", "dutch_collection.tsv"]
    assert mmarco[0].startswith("hf://datasets/unicamp-dl/mmarco@6d039c4")
    assert len(named.uris("swim-ir")) == 17
    assert named.uris("webfaq") == ["hf://datasets/PaDaS-Lab/webfaq/data/*.jsonl"]
    assert named.uris("mkqa") == ["https://raw.githubusercontent.com/apple/ml-mkqa/main/dataset/mkqa.jsonl.gz"]


def test_what_is_not_there_is_one_line() -> None:
    with pytest.raises(UserError, match="mmarco has no part klingon; it has arabic, chinese"):
        named.uris("mmarco", ["klingon"])
    with pytest.raises(UserError, match="no data set is named marco; known: webfaq"):
        named.uris("marco")
    with pytest.raises(UserError, match="msmarco cannot be read from the net: download it from https"):
        named.uris("msmarco")
    with pytest.raises(UserError, match="dolly is one whole here: name the folder of english"):
        named.uris("dolly", ["english"])


def test_the_licence_is_said() -> None:
    assert named.license_line("swim-ir").startswith("swim-ir: licence CC-BY-SA-4.0; see https://")
    assert named.license_line("webfaq-v2").startswith("webfaq-v2: licence not known here; see https://")
