"""The two parquet schemas of `hbt_ray.data.records`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.data import records
from hbt_ray.data.sources.files import folder

BATCH_ROWS = 8192


def read_pairs(uri: str, language: str | None) -> Iterator[pa.Table]:
    """Records of a *pairs* file.

    Raises:
        UserError: the file is missing or truncated, or a column is missing or of the wrong type.
    """
    return _read(uri, records.PAIRS)


def read_parallel(uri: str, language: str | None) -> Iterator[pa.Table]:
    """Records of a *parallel* file.

    Raises:
        UserError: the file is missing or truncated, or a column is missing or of the wrong type.
    """
    return _read(uri, records.PARALLEL)


def _read(uri: str, required: Sequence[str]) -> Iterator[pa.Table]:
    fs, path = storage.arrow_filesystem(uri)
    row = 0
    with storage.parquet_errors(uri), pq.ParquetFile(path, filesystem=fs) as file:
        wanted = [name for name in (*required, "negatives", "group", "source") if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
            yield records.from_columns(pa.Table.from_batches([batch]), required, row, folder(uri), uri)
            row += batch.num_rows
