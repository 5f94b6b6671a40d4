"""What the parts of `prepare` report, added up: the manifest's streams and counts. Nothing here is kept a row."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hbt_ray.data import lengths
from hbt_ray.data.align import Keys
from hbt_ray.data.alignment import INDEX

_COUNTS = ("queries", "query_tokens", "passages", "passage_tokens")


class Streams:
    """The streams of all partitions.

    Attributes:
        entries: what the manifest says of each stream that is new but its files, by name.
        everything: the same of all streams, also of those that there were.
        keys: where the keys of each partition lie.
        quarantined: records that no stream could use, by reason.
        duplicates: rows that say the same as another of their group and languages.
    """

    def __init__(self, commits: Iterable[dict[str, Any]], there: Sequence[dict[str, Any]]) -> None:
        """Add up the `commits` of the second stage, which are in order of partition; `there`: what the manifest says
        of the streams that there were."""
        streams: dict[str, dict[str, Any]] = {}
        segments: dict[str, array[int]] = {}
        self.quarantined: Counter[str] = Counter()
        self.duplicates = 0
        told = []
        for partition, commit in enumerate(commits):
            self.quarantined.update(commit["quarantined"])
            self.duplicates += commit["duplicates"]
            for found, start, stop in zip(commit["streams"], commit["offsets"], commit["offsets"][1:], strict=False):
                name = found["name"]
                streams[name] = _add(streams[name], found) if name in streams else found
                segments.setdefault(name, array("q")).extend((partition, start, stop, found["rows"]))
            names = [(found["name"], found["rows"]) for found in commit["streams"]]
            names += [(name, rows) for name, rows in commit["there"]]
            told.append((names, commit["offsets"][-2:], commit["shared"]))
        self.entries = [streams[name] for name in sorted(streams)]
        self._segments = segments
        self.everything = sorted([*there, *self.entries], key=lambda entry: str(entry["name"]))
        number = {entry["name"]: position for position, entry in enumerate(self.everything)}
        self._there = [number[entry["name"]] for entry in there]
        self._told = told
        self.keys = [
            Keys(start, stop, sum(rows for _, rows in names), [number[name] for name, _ in names])
            for names, (start, stop), _ in told
        ]

    def shared(self) -> Iterator[list[list[int]]]:
        """What the streams of each partition share, by their numbers: [left, right, matches]; each new one has all its
        rows in common with itself."""
        known = set(self._there)
        for keys, (names, _, shared) in zip(self.keys, self._told, strict=True):
            both = zip(keys.streams, names, strict=True)
            own = [[stream, stream, rows] for stream, (_, rows) in both if stream not in known]
            yield own + [[keys.streams[left], keys.streams[right], count] for left, right, count in shared]

    def renumbered(self, index: pa.Table) -> pa.Table:
        """The index that there was, of the schema INDEX, with the numbers that its streams have now."""
        now = np.array(self._there, dtype=np.int32)
        for place, name in enumerate(("left", "right")):
            index = index.set_column(place, INDEX.field(name), pa.array(now[index[name].to_numpy()]))
        return index

    def segments(self) -> list[np.ndarray]:
        """Where the rows of each new stream lie, int64 [partitions, 4]: partition, start, stop, rows."""
        return [np.array(self._segments[entry["name"]]).reshape(-1, 4) for entry in self.entries]

    def with_files(self, commits: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Everything with its files: of new streams those that the third stage's `commits` tell, in stream order."""
        files: dict[str, list[dict[str, Any]]] = {}
        for file in commits:
            files.setdefault(file["path"].removeprefix("streams/").rpartition("/")[0], []).append(file)
        return [entry if "files" in entry else {**entry, "files": files[entry["name"]]} for entry in self.everything]


def _add(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        **one,
        **{name: one[name] + other[name] for name in ("rows", "scored")},
        "tokens": [left + right for left, right in zip(one["tokens"], other["tokens"], strict=True)],
        "lengths": {side: lengths.add(counts, other["lengths"][side]) for side, counts in one["lengths"].items()},
    }


def by_language(entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The number of queries, passages and their tokens in each language; a sentence of bitext is both."""
    found: dict[str, Counter[str]] = {}
    for entry in entries:
        sides = zip(("queries", "passages"), ("query", "passage"), entry["languages"], entry["tokens"], strict=True)
        for plural, side, language, tokens in sides:
            found.setdefault(language, Counter(dict.fromkeys(_COUNTS, 0))).update(
                {plural: entry["rows"], f"{side}_tokens": tokens}
            )
    return {language: dict(found[language]) for language in sorted(found)}


def by_source(entries: Iterable[dict[str, Any]]) -> dict[str, int]:
    """The pairs kept of each source; a sentence of bitext counts as one."""
    found: Counter[str] = Counter()
    for entry in entries:
        found[entry["source"]] += entry["rows"]
    return {source: found[source] for source in sorted(found)}
