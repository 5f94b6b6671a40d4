"""Tables in parquet and in Arrow's own files (`.arrow`, `.feather`), a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece

ARROW = (".arrow", ".feather")
READ_ROWS = 1024  # decoded at once: of columns in codes, no size that the file tells says what they take
BUFFER_BYTES = 2**23  # read ahead in each column: a row group may be larger than memory
Choose = Callable[[Sequence[str]], Sequence[str]]


def batches(piece: FilePiece, choose: Choose) -> Iterator[tuple[int, pa.Table]]:
    """Number of the first row, and the rows, of each batch of a file or of some of its row groups.

    Args:
        choose: function of the file's columns to those that are read.

    Raises:
        UserError: the file is missing or truncated.
    """
    read = _arrow_batches if piece.uri.endswith(ARROW) else _parquet_batches
    return read(piece, choose)


def names(uri: str) -> list[str]:
    """The columns of a file.

    Raises:
        UserError: the file is missing or truncated.
    """
    fs, path = storage.arrow_filesystem(uri)
    if uri.endswith(ARROW):
        with storage.parquet_errors(uri, "Arrow"), fs.open_input_file(path) as file:
            return list(_open_arrow(file).schema.names)
    with storage.parquet_errors(uri):
        return list(pq.read_schema(path, filesystem=fs).names)


def row_groups(uri: str) -> tuple[int, ...]:
    """The size of each row group of a parquet file [bytes], told by its footer; none of another file.

    Raises:
        UserError: the file is missing or truncated.
    """
    if not uri.endswith(".parquet"):
        return ()
    footer = _footer(uri)
    return tuple(
        sum(footer.row_group(number).column(column).total_compressed_size for column in range(footer.num_columns))
        for number in range(footer.num_row_groups)
    )


def rows(uri: str) -> int:
    """The number of rows of a parquet file, told by its footer.

    Raises:
        UserError: the file is missing or truncated.
    """
    return int(_footer(uri).num_rows)


def _footer(uri: str) -> pq.FileMetaData:
    fs, path = storage.arrow_filesystem(uri)
    with storage.parquet_errors(uri):
        return pq.read_metadata(path, filesystem=fs)


def _parquet_batches(piece: FilePiece, choose: Choose) -> Iterator[tuple[int, pa.Table]]:
    fs, path = storage.arrow_filesystem(piece.uri)
    buffered = {"buffer_size": BUFFER_BYTES, "pre_buffer": False}
    with storage.parquet_errors(piece.uri), pq.ParquetFile(path, filesystem=fs, **buffered) as file:
        groups = range(file.num_row_groups)[piece.first : piece.stop]
        row = sum(file.metadata.row_group(number).num_rows for number in range(piece.first))
        columns = list(choose(file.schema_arrow.names))
        told = [file.metadata.row_group(number) for number in groups]
        sizes = [records.rows_of_a_batch(group.num_rows, group.total_byte_size) for group in told]
        small = min([READ_ROWS, *sizes])
        for table in _joined(file.iter_batches(small, row_groups=list(groups), columns=columns)):
            yield row, table
            row += table.num_rows


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches put together, as far as they are small: what values take is known when they are read."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if held and (rows + batch.num_rows > records.BATCH_ROWS or size + batch.nbytes > records.BATCH_BYTES):
            yield pa.Table.from_batches(held)
            held, rows, size = [], 0, 0
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
    if held:
        yield pa.Table.from_batches(held)


def _arrow_batches(piece: FilePiece, choose: Choose) -> Iterator[tuple[int, pa.Table]]:
    fs, path = storage.arrow_filesystem(piece.uri)
    with storage.parquet_errors(piece.uri, "Arrow"), fs.open_input_file(path) as file:
        reader = _open_arrow(file)
        columns = list(choose(reader.schema.names))
        row = 0
        found = (
            reader
            if isinstance(reader, pa.RecordBatchStreamReader)
            else map(reader.get_batch, range(reader.num_record_batches))
        )
        for whole in found:
            batch_rows = records.rows_of_a_batch(whole.num_rows, whole.nbytes)
            for start in range(0, whole.num_rows, batch_rows):
                batch = whole.slice(start, batch_rows)
                yield row, pa.Table.from_batches([batch]).select(columns)
                row += batch.num_rows


def _open_arrow(file: pa.NativeFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    """Arrow's file format, or the stream format, which the `datasets` library writes."""
    try:
        return pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_stream(file)
