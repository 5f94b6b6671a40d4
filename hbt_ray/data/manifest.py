"""What the parts of `prepare` report, added up: the manifest's streams and counts. Nothing here is kept a row."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from hbt_ray.data import lengths


class Streams:
    """The streams of all partitions.

    Attributes:
        entries: what the manifest says of each stream but its files, by name.
        quarantined: records that no stream could use, by reason.
    """

    def __init__(self, commits: Iterable[dict[str, Any]]) -> None:
        """Add up the `commits` of the second stage, which are in order of partition."""
        streams: dict[str, dict[str, Any]] = {}
        segments: dict[str, array[int]] = {}
        self.quarantined: Counter[str] = Counter()
        for partition, commit in enumerate(commits):
            self.quarantined.update(commit["quarantined"])
            for found, start, stop in zip(commit["streams"], commit["offsets"], commit["offsets"][1:], strict=False):
                name = found["name"]
                streams[name] = _add(streams[name], found) if name in streams else found
                segments.setdefault(name, array("q")).extend((partition, start, stop, found["rows"]))
        self.entries = [streams[name] for name in sorted(streams)]
        self._segments = segments

    def segments(self) -> list[np.ndarray]:
        """Where the rows of each stream lie, int64 [partitions, 4]: partition, start, stop, rows."""
        return [np.array(self._segments[entry["name"]]).reshape(-1, 4) for entry in self.entries]

    def with_files(self, commits: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The entries with the files that the third stage's `commits` tell, in stream order."""
        files: dict[str, list[dict[str, Any]]] = {}
        for file in commits:
            files.setdefault(file["path"].removeprefix("streams/").rpartition("/")[0], []).append(file)
        return [{**entry, "files": files[entry["name"]]} for entry in self.entries]


def _add(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        **one,
        "rows": one["rows"] + other["rows"],
        "tokens": {
            language: [left + right for left, right in zip(counts, other["tokens"][language], strict=True)]
            for language, counts in one["tokens"].items()
        },
        "lengths": {
            language: {side: lengths.add(counts, other["lengths"][language][side]) for side, counts in sides.items()}
            for language, sides in one["lengths"].items()
        },
    }


def by_language(entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The number of queries, passages and their tokens in each language; a sentence of bitext is both."""
    found: dict[str, Counter[str]] = {}
    for entry in entries:
        for language, histograms in entry["lengths"].items():
            counts = found.setdefault(language, Counter())
            for side, total in zip(("query", "passage"), entry["tokens"][language], strict=True):
                plural = "queries" if side == "query" else "passages"
                counts.update({plural: sum(histograms[side]), f"{side}_tokens": total})
    return {language: dict(found[language]) for language in sorted(found)}


def by_source(entries: Iterable[dict[str, Any]]) -> dict[str, int]:
    """The records kept of each source: a row counts once in each of its languages, a cross-lingual row once in all."""
    found: Counter[str] = Counter()
    for entry in entries:
        found[entry["source"]] += entry["rows"] * (1 if entry["kind"] == "cross-lingual" else len(entry["languages"]))
    return {source: found[source] for source in sorted(found)}
