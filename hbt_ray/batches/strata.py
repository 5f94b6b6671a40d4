"""Strata: what a batch can be made of, in the streams of a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hbt_ray import languages
from hbt_ray.config import PlanConfig, UserError
from hbt_ray.data.streams import Stream, StreamStore

Kind = Literal["monolingual", "cross-lingual"]


class Member(NamedTuple):
    """A sequence of pairs that a direction takes its rows from: a stream, or the matches of two.

    Attributes:
        query, passage: number in the store of the stream of the queries, and of the passages.
        pair: number in the alignment of these two streams; None: a row of the one stream has both.
        rows: in one pass.
        block_rows: rows that are read together.
    """

    query: int
    passage: int
    pair: int | None
    rows: int
    block_rows: int


@dataclass
class Direction:
    """All pairs with a query in one language and a passage in one: of every source one member.

    Attributes:
        languages: of queries and passages, as indexes in the plan's languages.
    """

    name: str
    languages: tuple[int, int]
    members: list[Member] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of rows in one pass."""
        return sum(member.rows for member in self.members)


class Stratum(NamedTuple):
    """What a batch is made of.

    Attributes:
        name: `mono:<lang>`, `cross`, or `cross:<query lang>-<passage lang>`.
        directions: number of each direction that a batch takes rows from; only `cross` has several.
    """

    name: str
    kind: Kind
    directions: tuple[int, ...]


def chosen_languages(streams: list[Stream], config: PlanConfig) -> tuple[str, ...]:
    """The languages the plan may draw, sorted.

    Raises:
        UserError: `--languages` names one that is unknown or not in the store.
    """
    there = {language for stream in streams for language in stream.languages}
    named = [_known(tag, there, "--languages") for tag in config.languages]
    return tuple(sorted(set(named) or there))


def monolingual(store: StreamStore, chosen: tuple[str, ...]) -> list[Direction]:
    """The monolingual directions, by language."""
    found: dict[str, Direction] = {}
    for number, stream in enumerate(store.streams):
        language = stream.languages[0]
        if stream.kind == "pairs" and language in chosen:
            place = chosen.index(language)
            direction = found.setdefault(language, Direction(f"mono:{language}", (place, place)))
            direction.members.append(Member(number, number, None, stream.rows, store.row_group_rows))
    return [found[language] for language in sorted(found)]


def cross_lingual(store: StreamStore, chosen: tuple[str, ...], config: PlanConfig) -> list[Direction]:
    """The cross-lingual directions, by their languages.

    Raises:
        UserError: `--pairs` names a pair that the store does not have.
    """
    found: dict[tuple[str, str], list[Member]] = {}
    for number, stream in enumerate(store.streams):
        if stream.kind == "cross-lingual":
            member = Member(number, number, None, stream.rows, store.row_group_rows)
            found.setdefault(stream.languages, []).append(member)
    alignment = store.alignment
    for pair, (both, rows) in enumerate(zip(alignment.streams.tolist(), alignment.rows.tolist(), strict=True)):
        for query, passage in (both, both[::-1]):
            named = store.streams[query].languages[0], store.streams[passage].languages[0]
            found.setdefault(named, []).append(Member(query, passage, pair, rows, alignment.block_rows))
    wanted = {named for named in found if set(named) <= set(chosen)}
    wanted = _named_pairs(wanted, chosen, config) or wanted
    index = {language: place for place, language in enumerate(chosen)}
    return [
        Direction(f"cross:{query}-{passage}", (index[query], index[passage]), sorted(found[query, passage]))
        for query, passage in sorted(wanted)
    ]


def _named_pairs(there: set[tuple[str, str]], chosen: tuple[str, ...], config: PlanConfig) -> set[tuple[str, str]]:
    """The ordered (query language, passage language) that `--pairs` names."""
    named = set()
    for text in config.pairs:
        query, _, passage = text.partition(":")
        pair = (_known(query, set(chosen), f"--pairs {text}"), _known(passage, set(chosen), f"--pairs {text}"))
        if pair not in there:
            raise UserError(f"--pairs {text}: the store has no query in {pair[0]} with a passage in {pair[1]}")
        named.add(pair)
    return named


def _known(tag: str, there: set[str], flag: str) -> str:
    language = languages.normalize(tag)
    if language is None:
        raise UserError(f"{flag}: {tag!r} is no known language tag")
    if language not in there:
        raise UserError(f"{flag}: the store has no {tag}; it has {', '.join(sorted(there))}")
    return language
