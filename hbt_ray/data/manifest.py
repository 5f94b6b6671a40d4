"""What the parts of `prepare` report, added up: the manifest's streams and counts. Nothing here is kept a row."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from hbt_ray.data import lengths
from hbt_ray.data.align import Keys
from hbt_ray.data.alignment import INDEX

_COUNTS = ("queries", "query_tokens", "passages", "passage_tokens")


PART_ROWS = 2**22  # of the keys that one part of the last stage takes


@dataclass
class _Part:
    """Some partitions, one after the other."""

    keys: list[Keys] = field(default_factory=list)
    matches: Counter[tuple[int, ...]] = field(default_factory=Counter)


class Streams:
    """The streams of all partitions.

    Attributes:
        entries: what the manifest says of each stream that is new but its files, by name.
        everything: the same of all streams, also of those that there were.
        keys: where the keys of each partition lie, for each part of the last stage.
        matches: of two streams, by their numbers, left < right, how many each of these parts has, int64 [parts]; of a
            new one with itself, its rows.
        quarantined: records that no stream could use, by reason.
        duplicates: rows that say the same as another of their group and languages.
    """

    def __init__(self, commits: Iterable[dict[str, Any]], there: Sequence[dict[str, Any]]) -> None:
        """Add up the `commits` of the second stage, which are in order of partition; `there`: what the manifest says
        of the streams that there were."""
        streams: dict[str, dict[str, Any]] = {}
        self._segments: dict[str, array[int]] = {}
        self.quarantined: Counter[str] = Counter()
        self.duplicates = 0
        seen: dict[str, int] = {}  # a number for each name, until all are known
        parts, rows = [_Part()], 0
        for partition, commit in enumerate(commits):
            self.quarantined.update(commit["quarantined"])
            self.duplicates += commit["duplicates"]
            for found, start, stop in zip(commit["streams"], commit["offsets"], commit["offsets"][1:], strict=False):
                name = found["name"]
                streams[name] = _add(streams[name], found) if name in streams else found
                self._segments.setdefault(name, array("q")).extend((partition, start, stop, found["rows"]))
            new = [(seen.setdefault(found["name"], len(seen)), found["rows"]) for found in commit["streams"]]
            old = [(seen.setdefault(name, len(seen)), rows) for name, rows in commit["there"]]
            count = sum(rows for _, rows in (*new, *old))
            if rows and rows + count > PART_ROWS:
                parts.append(_Part())
                rows = 0
            rows += count
            numbers = np.array([number for number, _ in (*new, *old)], dtype=np.int64)
            start, stop = commit["offsets"][-2:]
            parts[-1].keys.append(Keys(partition, start, stop, numbers))
            parts[-1].matches.update({(number, number): rows for number, rows in new})
            parts[-1].matches.update({tuple(numbers[both].tolist()): shared for *both, shared in commit["shared"]})
        self.entries = [streams[name] for name in sorted(streams)]
        self.everything = sorted([*there, *self.entries], key=lambda entry: str(entry["name"]))
        place = {entry["name"]: position for position, entry in enumerate(self.everything)}
        self._there = [place[entry["name"]] for entry in there]
        final = np.array([place[name] for name in seen], dtype=np.int64)
        self.keys = [[keys._replace(streams=final[keys.streams]) for keys in part.keys] for part in parts]
        self.matches: dict[tuple[int, int], np.ndarray] = {}
        for number, part in enumerate(parts):
            for both, shared in part.matches.items():
                left, right = sorted(final[list(both)].tolist())
                self.matches.setdefault((left, right), np.zeros(len(parts), np.int64))[number] += shared

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
