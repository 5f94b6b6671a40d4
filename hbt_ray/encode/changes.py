"""What a corpus has that a collection has not, and the other way round; and the version that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hbt_ray.config import UserError
from hbt_ray.encode import collection, documents, embeddings, ledger
from hbt_ray.encode.ledger import Ledger


class Changes(NamedTuple):
    """A corpus against the version of a collection that its next version is made of.

    Attributes:
        base: manifest of that version; None: there is none.
        same: number of that version, if it is just what the corpus has; else 0.
        newest: number of the newest version; 0: there is none.
        missing: which documents of the corpus have no vector there, bool [documents].
        removed: number of a part to the rows of its file that the corpus has not, int64.
        changed: number of missing documents whose id has another text there.
    """

    base: dict[str, Any] | None
    same: int
    newest: int
    missing: np.ndarray
    removed: dict[int, np.ndarray]
    changed: int

    @property
    def new(self) -> int:
        """The number of documents whose id is not there."""
        return int(self.missing.sum()) - self.changed

    @property
    def gone(self) -> int:
        """The number of documents there whose id the corpus has not."""
        return sum(map(len, self.removed.values())) - self.changed


def compare(folder: str, found: np.ndarray, among_others: bool) -> Changes:
    """Compare a corpus with the collection in `folder`.

    Args:
        found: hashes of its documents, uint64 [documents, 2].
        among_others: whether the collection has versions of other corpora, of which the most similar counts; otherwise
            it is the newest.

    Raises:
        UserError: a file is missing or corrupt, or, unless `among_others`, no document of the corpus has an id of the
            newest version.
    """
    versions = collection.versions_of(folder)
    newest = len(versions)
    version, same = _base(versions, found, among_others)
    if version is None:
        return Changes(None, 0, newest, np.ones(len(found), dtype=bool), {}, 0)
    base = collection.manifest_of(collection.version_uri(folder, version["number"]))
    if same:
        return Changes(base, version["number"], newest, np.zeros(len(found), dtype=bool), {}, 0)
    there = living(ledger.read(folder, base["documents"]), base["parts"])
    places, shared = documents.match(found, there.documents)
    gone = np.ones(len(there.rows), dtype=bool)
    gone[places[places >= 0]] = False
    if not among_others and not shared.any():
        raise UserError(
            f"{folder} is a collection of another corpus, none of whose {len(gone):,} documents is in this one: name"
            " another --out, or all documents, also those that are encoded already"
        )
    missing = places < 0
    left = there.take(np.flatnonzero(gone))
    removed = {number: left.rows[places].astype(np.int64) for number, places in _by_part(left).items()}
    return Changes(base, 0, newest, missing, removed, int((missing & shared).sum()))


def living(there: Ledger, parts: Sequence[Mapping[str, Any]]) -> Ledger:
    """The documents that have not been removed.

    Args:
        parts: the manifest's.
    """
    stored = np.array([part["stored_rows"] for part in parts])
    stops = np.cumsum(stored)
    first = np.full(1 + max(part["number"] for part in parts), -1)  # place of a part's first row among those of all
    first[[part["number"] for part in parts]] = stops - stored
    lives = ~np.concatenate([embeddings.removed_rows(part) for part in parts])
    known = there.parts < len(first)
    known[known] = first[there.parts[known]] >= 0
    rows = np.zeros(len(first), dtype=np.int64)
    rows[[part["number"] for part in parts]] = stored
    known[known] = there.rows[known] < rows[there.parts[known]]
    known[known] = lives[first[there.parts[known]] + there.rows[known]]
    return there if known.all() else there.take(np.flatnonzero(known))


def next_version(
    folder: str, changes: Changes, found: np.ndarray, added: Sequence[tuple[dict[str, Any], np.ndarray]]
) -> dict[str, Any]:
    """What the manifest of the next version says of documents and parts; writes the ledger of those that are new.

    Args:
        found: hashes of the corpus's documents, uint64 [documents, 2].
        added: entries of the new parts, with `name`, `language` and what their commits say, and the places of their
            documents in the corpus, in order of the rows, int64 [rows].

    Raises:
        UserError: a file of the collection is missing or corrupt.
    """
    before = changes.base or {"parts": [], "documents": [], "next_part": 0}
    parts = [without_removed(part, changes.removed.get(part["number"])) for part in before["parts"]]
    numbers = range(before["next_part"], before["next_part"] + len(added))
    parts += [
        {"number": number, **entry, "stored_rows": entry["rows"]}
        for number, (entry, _) in zip(numbers, added, strict=True)
    ]
    parts = [part for part in parts if part["rows"]]
    new = [
        ledger.of(found[places], np.full(len(places), number), np.arange(len(places)))
        for number, (_, places) in zip(numbers, added, strict=True)
    ]
    counts: Counter[str] = Counter()
    for part in parts:
        counts[part["language"]] += part["rows"]
    rows = sum(counts.values())
    assert rows == len(found)
    return {
        "rows": rows,
        "rows_by_language": dict(sorted(counts.items())),
        "next_part": numbers.stop,
        "documents": ledger.extended(folder, before["documents"], ledger.joined(new)),
        "parts": parts,
    }


def without_removed(part: Mapping[str, Any], rows: np.ndarray | None) -> dict[str, Any]:
    """The entry of a part with these rows of its file, int64, removed besides those that are."""
    if rows is None:
        return dict(part)
    removed = embeddings.removed_rows(part)
    removed[rows] = True
    left = len(removed) - int(removed.sum())
    return {**part, "rows": left, "removed": embeddings.pack_removed(removed)}


def _by_part(some: Ledger) -> dict[int, np.ndarray]:
    """Number of a part to the places of its documents in the ledger, int64."""
    order = np.argsort(some.parts, kind="stable")
    numbers, first = np.unique(some.parts[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=False))  # of nothing, an empty one


def _base(
    versions: Sequence[dict[str, Any]], found: np.ndarray, among_others: bool
) -> tuple[dict[str, Any] | None, bool]:
    """The version that the next one is made of, if there is one; and whether it is of just this content."""
    content = documents.content_name(found)
    if same := [version for version in versions if version["content"] == content]:
        return same[-1], True
    if not versions or not among_others:
        return (versions[-1] if versions else None), False
    mine = set(documents.sketch(found))
    similar = max(reversed(versions), key=lambda version: len(mine.intersection(version["sketch"])))
    return (similar if mine.intersection(similar["sketch"]) else None), False
