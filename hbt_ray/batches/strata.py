"""Strata: what a batch can be made of, in the streams of a store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from hbt_ray import languages
from hbt_ray.config import PlanConfig, UserError
from hbt_ray.data.streams import Stream

Kind = Literal["monolingual", "cross-lingual"]


@dataclass
class Stratum:
    """The streams a stratum takes its rows from, and the language pairs that a row of each can give.

    Attributes:
        name: `mono:<lang>`, `cross`, or `cross:<query lang>-<passage lang>`.
        streams, lengths: index in the store, and number of rows, of each stream.
        pairs: for each stream, the (query language, passage language) pairs, as indexes in the plan's languages.
    """

    name: str
    kind: Kind
    streams: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    pairs: list[list[tuple[int, int]]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of rows in one pass."""
        return sum(self.lengths)


def chosen_languages(streams: list[Stream], config: PlanConfig) -> tuple[str, ...]:
    """The languages the plan may draw, sorted.

    Raises:
        UserError: `--languages` names one that is unknown or not in the store.
    """
    there = {language for stream in streams for language in stream.languages}
    named = [_known(tag, there, "--languages") for tag in config.languages]
    return tuple(sorted(set(named) or there))


def strata(streams: list[Stream], chosen: tuple[str, ...], config: PlanConfig) -> tuple[list[Stratum], list[Stratum]]:
    """The monolingual and the cross-lingual strata, by name.

    Raises:
        UserError: `--pairs` names a pair that the store does not have.
    """
    index = {language: position for position, language in enumerate(chosen)}
    allowed = _allowed_pairs(streams, chosen, config)
    monolingual: dict[str, Stratum] = {}
    cross: dict[str, Stratum] = {}
    for number, stream in enumerate(streams):
        drawn: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for language in stream.monolingual:
            if language in index:
                stratum = monolingual.setdefault(language, Stratum(f"mono:{language}", "monolingual"))
                _add(stratum, number, stream, [(index[language], index[language])])
        for query, passage in stream.cross_lingual:
            if (query, passage) in allowed:
                drawn["cross" if config.cross_batches == "mixed" else f"cross:{query}-{passage}"].append(
                    (index[query], index[passage])
                )
        for name, pairs in drawn.items():
            _add(cross.setdefault(name, Stratum(name, "cross-lingual")), number, stream, pairs)
    return [monolingual[key] for key in sorted(monolingual)], [cross[key] for key in sorted(cross)]


def _add(stratum: Stratum, number: int, stream: Stream, pairs: list[tuple[int, int]]) -> None:
    stratum.streams.append(number)
    stratum.lengths.append(stream.rows)
    stratum.pairs.append(pairs)


def _allowed_pairs(streams: list[Stream], chosen: tuple[str, ...], config: PlanConfig) -> set[tuple[str, str]]:
    """The ordered (query language, passage language) that cross-lingual batches may hold."""
    there = {pair for stream in streams for pair in stream.cross_lingual if set(pair) <= set(chosen)}
    named = set()
    for text in config.pairs:
        query, _, passage = text.partition(":")
        pair = (_known(query, set(chosen), f"--pairs {text}"), _known(passage, set(chosen), f"--pairs {text}"))
        if pair not in there:
            raise UserError(f"--pairs {text}: the store has no query in {pair[0]} with a passage in {pair[1]}")
        named.add(pair)
    return named or there


def _known(tag: str, there: set[str], flag: str) -> str:
    language = languages.normalize(tag)
    if language is None:
        raise UserError(f"{flag}: {tag!r} is no known language tag")
    if language not in there:
        raise UserError(f"{flag}: the store has no {tag}; it has {', '.join(sorted(there))}")
    return language
