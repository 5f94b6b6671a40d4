"""What a store has before an input is added to it: nothing, if it is new."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray.config import UserError
from hbt_ray.data.alignment import INDEX, read_index
from hbt_ray.data.keys import shuffle_order, stream_name
from hbt_ray.data.streams import StreamStore

READ_ROW_GROUPS = 1024  # of groups of a stream that are looked through at once
COUNTS = ("files", "read", "kept", "duplicates")


class Sharing(NamedTuple):
    """A stream that is there and has groups of the new records: `keys` of its rows with these, uint64 [rows]."""

    name: str
    source: str
    kind: str
    keys: np.ndarray


@dataclass(frozen=True)
class Existing:
    """What there is already.

    Attributes:
        uri: the store [URI].
        manifest: its manifest; empty: there is none yet.
    """

    uri: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def streams(self) -> list[dict[str, Any]]:
        """What the manifest says of its streams."""
        return list(self.manifest.get("streams", []))

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """The cards of its inputs, by name."""
        return dict(self.manifest.get("inputs", {}))

    @property
    def licenses(self) -> dict[str, str]:
        """Licences, by source."""
        return dict(self.manifest.get("licenses", {}))

    def index(self, row_group_rows: int) -> tuple[pa.Table, int]:
        """Its index, of the schema INDEX, and the matches in a block of it.

        Raises:
            UserError: the index is missing, or not the one that the manifest tells of.
        """
        told = self.manifest.get("alignment")
        if told is None:
            return INDEX.empty_table(), row_group_rows
        return read_index(self.uri, told["fingerprint"]), int(told["block_rows"])

    def with_counts(self, counts: dict[str, Any], quarantined: Counter[str]) -> dict[str, Any]:
        """The counts of what is new, added to those of what is there."""
        had = self.manifest.get("counts", {})
        bad = Counter(had.get("quarantined", {})) + quarantined
        sums = {name: had.get(name, 0) + counts[name] for name in COUNTS}
        excluded = Counter(had.get("excluded", {}))
        excluded.update(counts["excluded"])
        return {**counts, **sums, "excluded": dict(excluded), "quarantined": dict(bad.most_common())}

    def refuse_streams(self, table: pa.Table) -> None:
        """Check that records, of the schema RECORDS, are of streams that are not there.

        Raises:
            UserError: some are of a stream that is there: what it holds is not written again.
        """
        names = {entry["name"] for entry in self.streams}
        columns = ["source", "query_lang", "passage_lang", "bitext"]
        for row in table.group_by(columns).aggregate([]).to_pylist() if names else []:
            languages = row["query_lang"], row["passage_lang"]
            kind = "cross-lingual" if len(set(languages)) == 2 else "bitext" if row["bitext"] else "pairs"
            if stream_name(row["source"], kind, languages) in names:
                told = " to ".join(dict.fromkeys(languages))
                raise UserError(
                    f"--append: {row['source']} has {kind} in {told} in {self.uri} already, and streams do not grow:"
                    " give the new data another name, as --input NAME=URI"
                )

    def sharing(self, table: pa.Table, keys: np.ndarray) -> list[Sharing]:
        """The streams of the sources and kinds of new records that have some of their groups.

        Args:
            table: the records, of the schema TOKENISED.
            keys: of each record's group, uint64 [records].
        """
        wanted = np.unique(keys)
        sources = set(pc.unique(table["source"]).to_pylist())
        kinds = {"bitext" if bitext else "pairs" for bitext in pc.unique(table["bitext"]).to_pylist()}
        found = []
        for number, entry in enumerate(self.streams):
            if entry["source"] in sources and entry["kind"] in kinds:
                store = _opened(self.uri, self.manifest["checksum"])
                of_stream = keys_among(store, number, wanted)
                if len(of_stream):
                    found.append(Sharing(entry["name"], entry["source"], entry["kind"], of_stream))
        return found


def keys_among(store: StreamStore, stream: int, wanted: np.ndarray) -> np.ndarray:
    """The keys of the rows of a stream whose groups are wanted, ascending, uint64 [rows]; only some rows are held.

    Args:
        wanted: keys of groups, ascending, uint64 [groups, at least one].
    """
    begin, end = store.alignment.row_groups(stream, int(wanted[0]), int(wanted[-1]))
    found = [np.empty(0, np.uint64)]
    for first in range(begin, end, READ_ROW_GROUPS):
        stop = min(min(first + READ_ROW_GROUPS, end) * store.row_group_rows, store.streams[stream].rows)
        ((groups, _),) = store.read_each(stream, [("group", np.arange(first * store.row_group_rows, stop))])
        keys = shuffle_order(groups.to_numpy(), store.manifest["seed"])
        found.append(keys[np.isin(keys, wanted)])
    return np.concatenate(found)


@lru_cache(maxsize=1)
def _opened(uri: str, checksum: str) -> StreamStore:
    """The store in this process."""
    store = StreamStore(uri)
    assert store.identity == checksum, "a driver at work holds the store"
    return store
