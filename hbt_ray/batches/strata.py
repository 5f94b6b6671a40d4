"""Strata: what a batch can be made of, in the streams of a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from hbt_ray import languages
from hbt_ray.batches.order import LONGEST
from hbt_ray.config import PlanConfig, UserError
from hbt_ray.data.stores import PairStore
from hbt_ray.data.stream import Stream

Kind = Literal["monolingual", "cross-lingual"]


class Member(NamedTuple):
    """A sequence of pairs that a direction takes its rows from: a stream, or the matches of two.

    Attributes:
        query, passage: number in the store of the stream of the queries, and of the passages.
        pair: number in the alignment of these two streams; None: a row of the one stream has both.
        rows: in one pass.
        block_rows: rows that are read together.
        size: `rows` times the weight of their store, by which members share what is drawn of a direction.
    """

    query: int
    passage: int
    pair: int | None
    rows: int
    block_rows: int
    size: int


@dataclass
class Direction:
    """All pairs with a query in one language and a passage in one: of every source of every store one member.

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

    @property
    def size(self) -> int:
        """The rows of one pass, each as often as its store's weight says: by this directions share batches."""
        return sum(member.size for member in self.members)

    @property
    def sizes(self) -> np.ndarray:
        """The size of each member, int64 [members]; in proportion, and at least 1, where they add up to too much."""
        sizes, total = [member.size for member in self.members], self.size
        if total > LONGEST:
            sizes = [max(size * (LONGEST - len(sizes)) // total, 1) for size in sizes]
        return np.array(sizes)


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


def weighted_strata(
    store: PairStore, languages: tuple[str, ...], config: PlanConfig
) -> tuple[list[Direction], list[Stratum], np.ndarray]:
    """All directions, the strata that are drawn of them, and the share of steps of each stratum, float64 [strata]:
    where alpha changes, halfway. Monolingual strata come first.

    Raises:
        UserError: the store has no row for what the strategy needs, or not a language or pair that is named.
    """
    halfway = config.alpha if config.last_alpha is None else (config.alpha + config.last_alpha) / 2
    alpha = {"x-x": 1.0, "x-y": 0.0, "hybrid": halfway}[config.strategy]
    own = monolingual(store, languages) if alpha > 0 else []
    cross = cross_lingual(store, languages, config) if alpha < 1 else []
    if alpha > 0 and not own:
        raise UserError(f"--strategy {config.strategy}: {store.uri} has no monolingual pair in these languages")
    if alpha < 1 and not cross:
        raise UserError(
            f"--strategy {config.strategy}: {store.uri} has no translations, so no cross-lingual batch can be drawn"
        )
    directions = [*own, *cross]
    for direction in directions:
        if direction.rows > LONGEST:
            raise UserError(f"{direction.name} has {direction.rows} rows; at most {LONGEST} are supported")
    strata = [Stratum(direction.name, "monolingual", (number,)) for number, direction in enumerate(own)]
    across = range(len(own), len(directions))
    if cross and config.cross_batches == "mixed":
        strata.append(Stratum("cross", "cross-lingual", tuple(across)))
        shares = [1.0]
    else:
        strata += [Stratum(directions[number].name, "cross-lingual", (number,)) for number in across]
        shares = _shares([direction.size for direction in cross], config.language_exponent)
    weights = [alpha * share for share in _shares([d.size for d in own], config.language_exponent)]
    return directions, strata, np.array([*weights, *((1 - alpha) * share for share in shares)])


def _shares(sizes: list[int], exponent: float) -> list[float]:
    """Shares proportional to size^exponent that sum to 1."""
    powers = [float(size) ** exponent for size in sizes]
    return [power / sum(powers) for power in powers]


def monolingual(store: PairStore, chosen: tuple[str, ...]) -> list[Direction]:
    """The monolingual directions, by language."""
    found: dict[str, Direction] = {}
    for number, stream in enumerate(store.streams):
        language = stream.languages[0]
        if stream.kind == "pairs" and language in chosen:
            place = chosen.index(language)
            direction = found.setdefault(language, Direction(f"mono:{language}", (place, place)))
            direction.members.append(_whole(number, stream))
    return [found[language] for language in sorted(found)]


def cross_lingual(store: PairStore, chosen: tuple[str, ...], config: PlanConfig) -> list[Direction]:
    """The cross-lingual directions, by their languages.

    Raises:
        UserError: `--pairs` names a pair that the store does not have.
    """
    found: dict[tuple[str, str], list[Member]] = {}
    for number, stream in enumerate(store.streams):
        if stream.kind == "cross-lingual":
            found.setdefault(stream.languages, []).append(_whole(number, stream))
    for pair, (left, right, rows, block_rows) in enumerate(store.matched):
        size = rows * store.streams[left].weight
        for query, passage in ((left, right), (right, left)):
            named = store.streams[query].languages[0], store.streams[passage].languages[0]
            found.setdefault(named, []).append(Member(query, passage, pair, rows, block_rows, size))
    wanted = {named for named in found if set(named) <= set(chosen)}
    wanted = _named_pairs(wanted, chosen, config) or wanted
    index = {language: place for place, language in enumerate(chosen)}
    return [
        Direction(f"cross:{query}-{passage}", (index[query], index[passage]), sorted(found[query, passage]))
        for query, passage in sorted(wanted)
    ]


def _whole(number: int, stream: Stream) -> Member:
    """The stream's own rows, whose queries and passages are both in it."""
    return Member(number, number, None, stream.rows, stream.row_group_rows, stream.rows * stream.weight)


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
