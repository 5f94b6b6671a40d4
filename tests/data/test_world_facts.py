"""The sample corpus: complete in every language, split without overlap, the same in every process, in right scripts."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import Literal

import pytest

from hbt_ray import storage
from hbt_ray.data.sources import world_facts
from hbt_ray.data.sources.world_facts_templates import LANGUAGES, PHRASINGS

SCRIPTS = {
    "ar": ("ARABIC",),
    "hi": ("DEVANAGARI",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ru": ("CYRILLIC",),
    "zh": ("CJK",),
}
TRAIN = world_facts.fact_rows("train").to_pylist()
TEST = world_facts.fact_rows("test").to_pylist()


def test_there_are_twelve_languages_with_all_kinds_and_several_phrasings() -> None:
    assert LANGUAGES == ("ar", "de", "en", "es", "fr", "hi", "it", "ja", "ru", "tr", "vi", "zh")
    for kinds in PHRASINGS.values():
        assert set(kinds) == {"currency", "language", "code"}
        for phrasings in kinds.values():
            assert len(phrasings.queries) == 3 and len(phrasings.passages) == 2
            assert all("{place}" in text and "{answer}" not in text for text in phrasings.queries)
            assert all("{place}" in text and "{answer}" in text for text in phrasings.passages)


def test_every_fact_is_said_once_in_every_language() -> None:
    languages = defaultdict(list)
    for row in TRAIN + TEST:
        languages[row["group"]].append(row["lang"])
    assert 600 <= len(languages) <= 750
    assert all(tuple(said) == LANGUAGES for said in languages.values())


def test_no_text_is_empty_or_holds_a_leftover() -> None:
    for row in TRAIN + TEST:
        for text in (row["query"], row["passage"]):
            assert text == text.strip() and len(text) > 5
            assert not set("{}") & set(text) and "None" not in text


def test_held_out_facts_are_never_in_training_but_their_territories_are() -> None:
    train, test = {row["group"] for row in TRAIN}, {row["group"] for row in TEST}
    assert len(test) == world_facts.HELD_OUT and not train & test
    assert {group.split(":")[1] for group in test} <= {group.split(":")[1] for group in train}
    assert set(Counter(group.split(":")[0] for group in test)) == {"currency", "language", "code"}


def test_each_passage_and_each_query_says_one_fact() -> None:
    for role in ("query", "passage"):
        texts = [(row["lang"], row[role]) for row in TRAIN + TEST]
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_letters_are_of_the_script_of_the_language(lang: str) -> None:
    wanted = SCRIPTS.get(lang, ("LATIN",))
    for row in TRAIN + TEST:
        if row["lang"] != lang:
            continue
        for text in (row["query"], row["passage"]):
            letters = [unicodedata.name(letter) for letter in text if letter.isalpha()]
            own = sum(name.startswith(wanted) for name in letters)
            foreign = {name for name in letters if not name.startswith((*wanted, "LATIN", "MODIFIER", "FULLWIDTH"))}
            assert not foreign, text
            # Latin letters: codes, the name of the standard, and the few names CLDR writes so, such as CFP
            assert own > len(letters) / 2, text


def test_known_facts_read_as_they_should() -> None:
    texts = {(row["group"], row["lang"]): row["passage"] for row in TRAIN + TEST}
    assert "日本円" in texts["currency:JP", "ja"] and "日本" in texts["currency:JP", "zh"]
    assert "Deutsch" in texts["language:AT", "de"] and "немецкий" in texts["language:AT", "ru"]
    assert all("IT" in texts["code:IT", lang] for lang in LANGUAGES)


def test_the_corpus_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib, json; from hbt_ray.data.sources import world_facts as w;"
        "rows = [w.fact_rows(split).to_pylist() for split in ('train', 'test')];"
        "print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_task_holds_all_passages_and_the_held_out_queries(tmp_path: Path) -> None:
    world_facts.write_task(str(tmp_path))
    documents = storage.read_parquet(str(tmp_path / "documents.parquet")).to_pylist()
    queries = storage.read_parquet(str(tmp_path / "queries.parquet")).to_pylist()
    assert len(documents) == len(TRAIN + TEST)
    assert {(q["id"], q["lang"], q["text"], q["item"]) for q in queries} == {
        (r["group"], r["lang"], r["query"], r["group"]) for r in TEST
    }
    passages = {(d["id"], d["lang"]): d["text"] for d in documents}
    assert all(passages[r["group"], r["lang"]] == r["passage"] for r in TRAIN + TEST)


def test_facts_that_are_not_aligned_are_the_same_texts_in_groups_of_their_own() -> None:
    rows = world_facts.fact_rows("train", ("de", "zh"), aligned=0.5).to_pylist()
    whole = [row for row in TRAIN if row["lang"] in ("de", "zh")]
    assert [{**row, "group": None} for row in rows] == [{**row, "group": None} for row in whole]
    sizes = Counter(Counter(row["group"] for row in rows).values())
    assert set(sizes) == {1, 2}
    assert 0.4 < sizes[2] / (len(rows) / 2) < 0.6  # half of the facts
    assert all(row["group"].endswith(f":{row['lang']}") or row in whole for row in rows)


def test_some_languages_are_the_same_facts_and_split_without_the_other_languages(tmp_path: Path) -> None:
    chosen = ("de", "zh")
    splits: dict[Literal["train", "test"], list[dict[str, str]]] = {"train": TRAIN, "test": TEST}
    for split, whole in splits.items():
        found = world_facts.fact_rows(split, chosen).to_pylist()
        assert found == [row for row in whole if row["lang"] in chosen]
    world_facts.write_task(str(tmp_path), chosen)
    for name, texts in (("documents", TRAIN + TEST), ("queries", TEST)):
        written = storage.read_parquet(str(tmp_path / f"{name}.parquet")).to_pylist()
        assert {(row["id"], row["lang"]) for row in written} == {
            (row["group"], row["lang"]) for row in texts if row["lang"] in chosen
        }
