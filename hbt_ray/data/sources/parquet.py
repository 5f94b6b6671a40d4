"""The two parquet schemas of `hbt_ray.data.records`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.storage.text_files import folder

BUFFER_BYTES = 2**23  # read ahead in each column: a row group may be larger than memory


def read_pairs(piece: FilePiece, language: str | None) -> Iterator[pa.Table]:
    """Records of a *pairs* file or of some of its row groups.

    Raises:
        UserError: the file is missing or truncated, or a column is missing or of the wrong type.
    """
    return _read(piece, records.PAIRS)


def read_parallel(piece: FilePiece, language: str | None) -> Iterator[pa.Table]:
    """Records of a *parallel* file or of some of its row groups.

    Raises:
        UserError: the file is missing or truncated, or a column is missing or of the wrong type.
    """
    return _read(piece, records.PARALLEL)


def row_groups(uri: str) -> tuple[int, ...]:
    """The size of each row group of the file [bytes], told by its footer.

    Raises:
        UserError: the file is missing or truncated.
    """
    fs, path = storage.arrow_filesystem(uri)
    with storage.parquet_errors(uri):
        footer = pq.read_metadata(path, filesystem=fs)
    return tuple(
        sum(footer.row_group(number).column(column).total_compressed_size for column in range(footer.num_columns))
        for number in range(footer.num_row_groups)
    )


def _read(piece: FilePiece, required: Sequence[str]) -> Iterator[pa.Table]:
    uri = piece.uri
    fs, path = storage.arrow_filesystem(uri)
    buffered = {"buffer_size": BUFFER_BYTES, "pre_buffer": False}
    with storage.parquet_errors(uri), pq.ParquetFile(path, filesystem=fs, **buffered) as file:
        groups = range(file.num_row_groups)[piece.first : piece.stop]
        row = sum(file.metadata.row_group(number).num_rows for number in range(piece.first))
        wanted = [name for name in (*required, "negatives", "group", "source") if name in file.schema_arrow.names]
        for batch in file.iter_batches(records.BATCH_ROWS, row_groups=list(groups), columns=wanted):
            yield records.from_columns(pa.Table.from_batches([batch]), required, row, folder(uri), uri)
            row += batch.num_rows
