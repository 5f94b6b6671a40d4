"""Where the documents of a collection are: parquet files of hashes, part and row, sorted by the hash of the id.

A look-up reads the footer of a file and the one row group that the id's hash falls into; none is ever rewritten. Each
version of a collection adds one file; small ones are merged, so that their number grows like a logarithm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.encode import embeddings

FOLDER = "documents"
SCHEMA = pa.schema({"key": pa.uint64(), "text": pa.uint64(), "part": pa.uint32(), "row": pa.uint32()})
GROUP_ROWS = 32768  # read to look one up; a file of 100 million has 3,052 groups, and a footer of about 1 MB
MERGED = 2  # a file of at most so many times the rows of the next one is merged with it


class Ledger(NamedTuple):
    """Documents and where they are, in ascending order of the hash of the id.

    Attributes:
        documents: uint64 [documents, 2], as `documents.py` has them.
        parts: number of each one's part, uint32 [documents].
        rows: its row in the file of that part, uint32 [documents].
    """

    documents: np.ndarray
    parts: np.ndarray
    rows: np.ndarray

    def take(self, places: np.ndarray) -> Ledger:
        """The documents at these places."""
        return Ledger(*(column[places] for column in self))


def of(documents: np.ndarray, parts: np.ndarray, rows: np.ndarray) -> Ledger:
    """A ledger of documents in any order."""
    found = Ledger(documents.reshape(-1, 2), parts.astype(np.uint32), rows.astype(np.uint32))
    return found.take(np.argsort(found.documents[:, 0], kind="stable"))


def joined(ledgers: Sequence[Ledger]) -> Ledger:
    """All their documents as one ledger."""
    if len(ledgers) == 1:
        return ledgers[0]
    empty = of(np.empty((0, 2), np.uint64), np.empty(0), np.empty(0))
    return of(*(np.concatenate(columns) for columns in zip(empty, *ledgers, strict=True)))


def write(folder: str, ledger: Ledger) -> dict[str, Any]:
    """Write a ledger under a name that its content gives; returns the entry of the manifest."""
    columns = {"key": ledger.documents[:, 0], "text": ledger.documents[:, 1], "part": ledger.parts, "row": ledger.rows}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=GROUP_ROWS, compression="zstd", use_dictionary=False)
    data = sink.getvalue()
    name = hashlib.sha256(data).hexdigest()
    storage.write(storage.join(folder, FOLDER, f"{name}.parquet"), lambda file: file.write(data))
    return {"sha256": name, "rows": len(ledger.rows)}


def read(folder: str, entries: Sequence[Mapping[str, Any]]) -> Ledger:
    """The documents of some entries of the manifest, also those that have been removed since.

    Raises:
        UserError: a file is missing or corrupt.
    """
    files = ((_uri(folder, entry), entry["sha256"]) for entry in entries)
    return joined([_ledger(embeddings.read_table(uri, sha256), uri) for uri, sha256 in files])


def find(folder: str, entry: Mapping[str, Any], keys: np.ndarray) -> Ledger:
    """The documents of one entry whose ids have one of these hashes, uint64 [keys]; only their row groups are read.

    Raises:
        UserError: the file is missing or no parquet.
    """
    uri = _uri(folder, entry)
    fs, path = storage.arrow_filesystem(uri)
    wanted = np.unique(keys)
    with storage.parquet_errors(uri), pq.ParquetFile(path, filesystem=fs) as file:
        bounds = [file.metadata.row_group(number).column(0).statistics for number in range(file.num_row_groups)]
        first = np.searchsorted(wanted, np.array([bound.min for bound in bounds], dtype=np.uint64), "left")
        stop = np.searchsorted(wanted, np.array([bound.max for bound in bounds], dtype=np.uint64), "right")
        holding = np.flatnonzero(first < stop)
        found = [_ledger(file.read_row_group(int(number)), uri) for number in holding]
    return joined([one.take(np.flatnonzero(np.isin(one.documents[:, 0], wanted))) for one in found])


def extended(folder: str, entries: Sequence[Mapping[str, Any]], added: Ledger) -> list[dict[str, Any]]:
    """The entries of a manifest with some documents more, which are written; files that are not much larger are merged.

    Raises:
        UserError: a file that is merged is missing or corrupt.
    """
    kept = [dict(entry) for entry in entries]
    if not len(added.rows):
        return kept
    together = [added]
    while kept and kept[-1]["rows"] <= MERGED * sum(len(one.rows) for one in together):
        together.append(read(folder, [kept.pop()]))
    return [*kept, write(folder, joined(together))]


def _ledger(table: pa.Table, uri: str) -> Ledger:
    if table.schema != SCHEMA or any(column.null_count for column in table.columns):
        raise UserError(f"{uri} is no list of documents")
    key, text, part, row = (table[name].to_numpy() for name in SCHEMA.names)
    return Ledger(np.stack([key, text], axis=1), part, row)


def _uri(folder: str, entry: Mapping[str, Any]) -> str:
    return storage.join(folder, FOLDER, f"{entry['sha256']}.parquet")
