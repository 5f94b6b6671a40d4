"""Look before you pay: what a run will draw, from manifest and plan alone. Nothing is read, nothing starts.

Counts of batches and pairs are exact. Token counts are expected ones, and leave out prefixes and special tokens.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from hbt_ray.batches.plan import Plan
from hbt_ray.batches.strata import Stratum
from hbt_ray.data import lengths
from hbt_ray.data.stores import PairStore
from hbt_ray.terminal import console, table, warn

REPEATS = 20  # passes from which a row is repeated more often than most users want
DOMINANT = 0.8  # share of pairs from which one of several sources dominates
SHOWN = 10  # lines of one kind of warning
PAIRS_SHOWN = 40  # rows of the table of language pairs
Limits = tuple[int | None, int | None]  # longest query, longest passage [tokens]


@dataclass(frozen=True)
class StratumForecast:
    """What is drawn of a stratum.

    Attributes:
        directions: name, rows of one pass, and pairs drawn of each direction.
        pairs: (query language, passage language) to pairs drawn.
        tokens: expected tokens of queries and passages, without padding.
        padding: expected share of the tokens of a padded slice that are padding.
        means: length of a query and of a passage, on average [tokens].
    """

    name: str
    kind: str
    batches: int
    directions: list[tuple[str, int, int]]
    pairs: dict[tuple[str, str], int]
    tokens: float
    padding: float
    means: tuple[float, float]

    @property
    def rows(self) -> int:
        """The number of rows in one pass."""
        return sum(rows for _, rows, _ in self.directions)

    @property
    def passes(self) -> float:
        """How often each row is seen, on average."""
        return sum(drawn for *_, drawn in self.directions) / self.rows


@dataclass(frozen=True)
class StoreForecast:
    """What is drawn of a store: `drawn` pairs, which are `share` of all, of its `rows`."""

    name: str
    weight: float
    rows: int
    drawn: int
    share: float


@dataclass(frozen=True)
class Forecast:
    """What a whole run draws.

    Attributes:
        streams: name, rows, and passes of each stream: how often the average row gives a query, or a passage where
            it gives more of these.
        sources: pairs by source.
        stores: what is drawn of each.
        warnings: what a user would regret, a line each.
    """

    steps: int
    batch_size: int
    strata: list[StratumForecast]
    streams: list[tuple[str, int, float]]
    sources: dict[str, int]
    stores: list[StoreForecast]
    warnings: list[str] = field(default_factory=list)


def forecast(store: PairStore, plan: Plan, steps: int, workers: int, limits: Limits = (None, None)) -> Forecast:
    """What the first `steps` steps draw on `workers` workers; texts are cut at `limits`."""
    taken = plan.taken(steps).tolist()
    ends = np.cumsum([len(direction.members) for direction in plan.directions]).tolist()
    of_direction = [taken[end - len(d.members) : end] for d, end in zip(plan.directions, ends, strict=True)]
    slice_rows = max(plan.config.batch_size // workers, 1)
    strata = [
        _stratum(store, plan, stratum, int(batches), of_direction, slice_rows, limits)
        for stratum, batches in zip(plan.strata, plan.drawn(steps), strict=True)
    ]
    queries: Counter[int] = Counter()
    passages: Counter[int] = Counter()
    sources: Counter[str] = Counter()
    for member, count in zip(plan.members, taken, strict=True):
        queries[member.query] += count
        passages[member.passage] += count
        sources[store.streams[member.query].source] += count
    streams = [
        (stream.name, stream.rows, max(queries[number], passages[number]) / stream.rows)
        for number, stream in enumerate(store.streams)
    ]
    told = by_store(store, plan, steps)
    result = Forecast(steps, plan.config.batch_size, strata, streams, dict(sources.most_common()), told)
    result.warnings.extend(_warnings(plan, result))
    return result


def by_store(store: PairStore, plan: Plan, steps: int) -> list[StoreForecast]:
    """What the first `steps` steps draw of each store, by the store of the queries."""
    drawn: Counter[str] = Counter()
    for member, count in zip(plan.members, plan.taken(steps).tolist(), strict=True):
        drawn[store.streams[member.query].store] += count
    rows: Counter[str] = Counter()
    for stream in store.streams:
        rows[stream.store] += stream.rows
    total = max(sum(drawn.values()), 1)
    return [
        StoreForecast(name, weight, rows[name], drawn[name], drawn[name] / total)
        for name, weight in store.weights.items()
    ]


def _stratum(
    store: PairStore,
    plan: Plan,
    stratum: Stratum,
    batches: int,
    taken: list[list[int]],
    slice_rows: int,
    limits: Limits,
) -> StratumForecast:
    """`taken`: rows of each member of each direction."""
    pairs: dict[tuple[str, str], int] = {}
    texts = np.zeros((2, len(lengths.edges)))  # histograms of queries and passages
    directions = [plan.directions[number] for number in stratum.directions]
    drawn = [sum(taken[number]) for number in stratum.directions]
    for number, direction in zip(stratum.directions, directions, strict=True):
        query, passage = (plan.languages[place] for place in direction.languages)
        pairs[query, passage] = sum(taken[number])
        for member, rows in zip(direction.members, taken[number], strict=True):
            for side, stream in enumerate((member.query, member.passage)):
                counts = np.array(store.streams[stream].lengths[side], dtype=float)
                texts[side, : len(counts)] += rows * counts / max(counts.sum(), 1)
    both = (_mean_and_longest(counts, slice_rows, limit) for counts, limit in zip(texts, limits, strict=True))
    query_lengths, passage_lengths = both
    needed, padded = query_lengths[0] + passage_lengths[0], query_lengths[1] + passage_lengths[1]
    return StratumForecast(
        name=stratum.name,
        kind=stratum.kind,
        batches=batches,
        directions=[(d.name, d.rows, count) for d, count in zip(directions, drawn, strict=True)],
        pairs=pairs,
        tokens=query_lengths[0] * float(texts[0].sum()) + passage_lengths[0] * float(texts[1].sum()),
        padding=1 - needed / padded if padded else 0.0,
        means=(query_lengths[0], passage_lengths[0]),
    )


def _mean_and_longest(counts: np.ndarray, texts: int, limit: int | None) -> tuple[float, float]:
    """Mean length and expected length of the longest of `texts` texts [tokens], of a histogram of lengths."""
    if not counts.sum():
        return 0.0, 0.0
    middles = np.append((lengths.edges[:-1] + lengths.edges[1:] - 1) / 2, lengths.edges[-1])
    if limit is not None:
        middles = np.minimum(middles, limit)
    shares = counts / counts.sum()
    below = np.cumsum(shares) ** texts  # chance that all are in this bin or a shorter one
    return float(shares @ middles), float(np.diff(below, prepend=0.0) @ middles)


def _warnings(plan: Plan, forecast: Forecast) -> list[str]:
    found = []
    for stratum in forecast.strata:
        if not stratum.batches:
            found.append(f"{stratum.name} is never drawn in {forecast.steps} steps")
            continue
        often = sorted(((drawn / rows, name, rows) for name, rows, drawn in stratum.directions), reverse=True)
        often = [of for of in often if of[0] > REPEATS]
        found += [
            f"{name}: each of its {rows:,} rows is seen {passes:.0f} times" for passes, name, rows in often[:SHOWN]
        ]
        if len(often) > SHOWN:
            found.append(f"{len(often) - SHOWN} more directions of {stratum.name} are seen more than {REPEATS} times")
        if stratum.rows < forecast.batch_size:
            found.append(
                f"{stratum.name} has {stratum.rows:,} rows, fewer than a batch of {forecast.batch_size:,}: "
                "rows come several times in one batch and are no negatives of each other"
            )
        rare = [f"{query}:{passage}" for (query, passage), pairs in stratum.pairs.items() if not pairs]
        if rare:
            more = f" and {len(rare) - SHOWN} more" if len(rare) > SHOWN else ""
            found.append(f"{stratum.name}: never drawn: {', '.join(rare[:SHOWN])}{more}")
    for kind in ("monolingual", "cross-lingual"):
        drawn = {tag for stratum in forecast.strata if stratum.kind == kind for pair in stratum.pairs for tag in pair}
        absent = [tag for tag in plan.languages if drawn and tag not in drawn]
        if absent:
            found.append(f"no {kind} batch has {', '.join(absent)}: the store has no such pairs")
    total = sum(forecast.sources.values())
    for source, pairs in forecast.sources.items():
        if len(forecast.sources) > 1 and pairs > DOMINANT * total:
            found.append(f"source {source} gives {pairs / total:.0%} of all pairs")
    unseen = [name for name, _, passes in forecast.streams if passes == 0]
    if unseen:
        found.append(f"{len(unseen)} streams are never read: {', '.join(unseen[:5])}")
    return found


def show_forecast(forecast: Forecast) -> None:
    """Print it as tables to stderr: strata, languages and pairs, stores, streams, sources, warnings."""
    screen = console()
    total = max(forecast.steps * forecast.batch_size, 1)
    rows = [
        [
            *(s.name, f"{s.batches:,}", f"{s.batches / max(forecast.steps, 1):.1%}"),
            *(f"{s.rows:,}", f"{s.passes:.2f}", f"{s.tokens:,.0f}", f"{s.padding:.0%}"),
        ]
        for s in forecast.strata
    ]
    rows.append(["total", f"{forecast.steps:,}", "", "", "", f"{sum(s.tokens for s in forecast.strata):,.0f}", ""])
    columns = ["stratum", "batches", "share", "rows a pass", "passes", "tokens", "padding"]
    screen.print(table(columns, rows))
    pairs: Counter[tuple[str, str]] = Counter()
    for stratum in forecast.strata:
        pairs.update(stratum.pairs)
    found = [
        [f"{query}:{passage}", f"{count:,.0f}", f"{count / total:.1%}"]
        for (query, passage), count in pairs.most_common(PAIRS_SHOWN)
    ]
    if len(pairs) > PAIRS_SHOWN:
        rest = sum(pairs.values()) - sum(count for _, count in pairs.most_common(PAIRS_SHOWN))
        found.append([f"{len(pairs) - PAIRS_SHOWN:,} others", f"{rest:,}", f"{rest / total:.1%}"])
    screen.print(table(["query:passage language", "pairs", "share"], found))
    stores = [[s.name, f"{s.weight:g}", f"{s.rows:,}", f"{s.drawn:,}", f"{s.share:.1%}"] for s in forecast.stores]
    screen.print(table(["store", "weight", "rows", "pairs", "share"], stores))
    screen.print(table(["stream", "rows", "passes"], [[n, f"{r:,}", f"{p:.2f}"] for n, r, p in forecast.streams]))
    shares = [[name, f"{count:,}", f"{count / total:.1%}"] for name, count in forecast.sources.items()]
    screen.print(table(["source", "pairs", "share"], shares))
    for line in forecast.warnings:
        warn(line)
