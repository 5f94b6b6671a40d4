"""Bad rows, kept apart with file, row number and reason."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.data import records


class Quarantine:
    """One parquet file of the schema QUARANTINE, begun when the first row comes; whole or absent.

    Attributes:
        reasons: how many rows were put in for each reason.
    """

    def __init__(self, uri: str) -> None:
        self.reasons: Counter[str] = Counter()
        self._uri = uri
        self._open = ExitStack()
        self._writer: Any = None

    def put(self, rows: pa.Table) -> None:
        """Add rows of the schema QUARANTINE."""
        if not rows.num_rows:
            return
        if self._writer is None:
            file = self._open.enter_context(storage.create(self._uri))
            self._writer = self._open.enter_context(pq.ParquetWriter(file, records.QUARANTINE, compression="zstd"))
        self.reasons.update(rows["reason"].to_pylist())
        self._writer.write_table(rows)

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
