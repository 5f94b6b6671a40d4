"""World facts, the sample corpus that needs no download: currencies, official languages and codes of territories.

The names come from the Unicode CLDR tables in `babel`, the sentences from `world_facts_templates`. A fact is used only
where CLDR has its names in all twelve languages, so every group is parallel in all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Literal

import pyarrow as pa
from babel import Locale
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies

from hbt_ray import storage
from hbt_ray.data.sources.world_facts_templates import LANGUAGES, PHRASINGS

HELD_OUT = 120
"""Facts of the test split."""

_DAY = date(2025, 1, 1)  # currencies as of a fixed day: the corpus must not change with the calendar

# Two-letter entries of CLDR that ISO 3166 assigns to no country: regions, test locales, reserved and private codes.
_NO_COUNTRIES = frozenset(["AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "XK", "ZZ"])


_INSTRUCTIONS = (
    "State the {kind} of {place} in one sentence.",
    "Write a short sentence for a travel guide that tells the {kind} of {place}.",
    "You are given a place: {place}. Tell its {kind}.",
)
_KINDS = {"currency": "official currency", "language": "official language", "code": "two-letter country code"}


@dataclass(frozen=True)
class Fact:
    """One thing said of a territory; `answer` gives it in each language of the corpus."""

    kind: Literal["currency", "language", "code"]
    territory: str
    answer: dict[str, str]

    @property
    def group(self) -> str:
        """The name of the fact, the same in every language."""
        return f"{self.kind}:{self.territory}"


def fact_rows(split: Literal["train", "test"], languages: Sequence[str] = LANGUAGES, aligned: float = 1.0) -> pa.Table:
    """The facts of one split in the parallel schema: group, lang, query, passage; one row for each fact and language.

    Args:
        aligned: share of the facts whose texts in all languages are one group. Each text of the others is a group of
            its own, as where nobody has said which texts are translations of each other.
    """
    held_out = _held_out()
    texts = [
        (_group(fact, lang, aligned), lang, _query(fact, lang), _passage(fact, lang))
        for fact in _facts()
        if (fact.group in held_out) == (split == "test")
        for lang in languages
    ]
    return _table(["group", "lang", "query", "passage"], texts)


def instruction_rows(count: int) -> pa.Table:
    """Instructions in English and their responses, of training facts only, in the parallel schema [`count` rows].

    They stand for instruction data such as databricks-dolly-15k (instruction to response): one language, and no two of
    them are translations of each other.

    Raises:
        ValueError: there are not so many.
    """
    held_out = _held_out()
    facts = [fact for fact in _facts() if fact.group not in held_out]
    if count > len(facts) * len(_INSTRUCTIONS):
        raise ValueError(f"there are {len(facts) * len(_INSTRUCTIONS):,} instructions, not {count:,}")
    texts = [
        (f"instruction {number}:{fact.group}", "en", _instruction(fact, said), _passage(fact, "en"))
        for number, said in enumerate(_INSTRUCTIONS)
        for fact in facts
    ]
    return _table(["group", "lang", "query", "passage"], texts[:count])


def write_task(out_uri: str, languages: Sequence[str] = LANGUAGES) -> None:
    """Write the evaluation task under `out_uri`.

    `documents.parquet` (id, lang, text) holds the passages of all facts in all `languages`, `queries.parquet`
    (id, lang, text, item) the queries of the held-out facts. A query's relevant documents are those with its id.
    """
    held_out = _held_out()
    documents = [(fact.group, lang, _passage(fact, lang)) for fact in _facts() for lang in languages]
    queries = [
        (fact.group, lang, _query(fact, lang), fact.group)
        for fact in _facts()
        if fact.group in held_out
        for lang in languages
    ]
    storage.write_parquet(storage.join(out_uri, "documents.parquet"), _table(["id", "lang", "text"], documents))
    storage.write_parquet(storage.join(out_uri, "queries.parquet"), _table(["id", "lang", "text", "item"], queries))


@cache
def _facts() -> tuple[Fact, ...]:
    """All facts, sorted by territory."""
    found = []
    for territory in _territories():
        found.append(Fact("code", territory, dict.fromkeys(LANGUAGES, territory)))
        currencies = get_territory_currencies(territory, _DAY, tender=True)
        if len(currencies) == 1:  # with two legal tenders the question would have two answers
            answer = {lang: _locale(lang).currencies.get(currencies[0]) for lang in LANGUAGES}
            if all(answer.values()):
                found.append(Fact("currency", territory, answer))
        languages = get_official_languages(territory) or get_official_languages(territory, de_facto=True)
        if languages:  # the first is the one with the most speakers
            language = languages[0].split("_")[0]  # zh_Hant is a way to write, not to speak
            answer = {lang: _locale(lang).languages.get(language) for lang in LANGUAGES}
            if all(answer.values()):
                found.append(Fact("language", territory, answer))
    return tuple(found)


def _territories() -> list[str]:
    """Sorted ISO 3166 codes that have a name in every language."""
    named = set.intersection(*(set(_locale(lang).territories) for lang in LANGUAGES))
    return sorted(code for code in named if len(code) == 2 and code not in _NO_COUNTRIES)


@cache
def _held_out() -> frozenset[str]:
    """Groups of the test split: the first by hash, one a territory, and never all that is told of a territory."""
    told = Counter(fact.territory for fact in _facts())
    groups: dict[str, str] = {}  # territory to group
    for fact in sorted(_facts(), key=lambda fact: _number(fact.group)):
        if told[fact.territory] > 1 and len(groups) < HELD_OUT:
            groups.setdefault(fact.territory, fact.group)
    return frozenset(groups.values())


def _group(fact: Fact, lang: str, aligned: float) -> str:
    return fact.group if _number(f"{fact.group} aligned") < aligned * 2**64 else f"{fact.group}:{lang}"


def _query(fact: Fact, lang: str) -> str:
    return _say(PHRASINGS[lang][fact.kind].queries, fact, lang, "query")


def _passage(fact: Fact, lang: str) -> str:
    return _say(PHRASINGS[lang][fact.kind].passages, fact, lang, "passage")


def _instruction(fact: Fact, said: str) -> str:
    return said.format(kind=_KINDS[fact.kind], place=_locale("en").territories[fact.territory])


def _say(phrasings: tuple[str, ...], fact: Fact, lang: str, role: str) -> str:
    sentence = phrasings[_number(f"{fact.group} {lang} {role}") % len(phrasings)]
    return sentence.format(place=_locale(lang).territories[fact.territory], answer=fact.answer[lang])


def _number(text: str) -> int:
    """A hash that is the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@cache
def _locale(lang: str) -> Locale:
    return Locale.parse(lang)


def _table(names: list[str], texts: Sequence[tuple[str, ...]]) -> pa.Table:
    return pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(names, zip(*texts, strict=True), strict=True)}
    )
