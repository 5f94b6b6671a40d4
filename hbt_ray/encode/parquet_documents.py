"""Documents in parquet: columns `id`, `lang`, `text`, optional `title`.

The language may also be a folder's, `lang=de/`, or a setting's for all rows. Its tag may have any spelling: in ids and
parts it has that of `languages.normalize`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hbt_ray import languages, storage
from hbt_ray.config import UserError
from hbt_ray.encode.documents import hash_texts
from hbt_ray.encode.spans import Scanned, Span, Texts, Titled, titled
from hbt_ray.storage.text_files import is_utf8

T = TypeVar("T")
COLUMNS = ("id", "lang", "text")
ROW = "row in the file"  # a column of ours
HASHED = 4096  # rows whose texts are in memory while they are hashed
LARGEST = 2**53  # float64 has all whole numbers up to this one
LANGUAGE = re.compile(r"[A-Za-z0-9_-]+")  # it names files and stands before the colon of an id


def scan_file(file: str, language: str | None, part_rows: int, texts: bool = False) -> Scanned:
    """The ids of a file, and its spans of at most `part_rows` rows.

    Args:
        language: language of all rows of a file without column `lang`.
        texts: whether the hashes of the texts are wanted, for which these are read.

    Raises:
        UserError: the file is missing, truncated or lacks a column, a row has no id or language, or its folder says
            another language than the setting.
    """
    language = folder_language(file, language)
    with _open(file) as parquet:
        there = parquet.schema_arrow.names
        for column in COLUMNS:
            if column not in there and (column != "lang" or language is None):
                raise UserError(f"{file} has no column {column}; it has {', '.join(there)}")
        table = _checked(file, lambda: parquet.read(columns=[name for name in ("id", "lang") if name in there]))
    columns = {name: _strings(file, table, name) for name in table.column_names}
    for column, values in columns.items():
        missing = pc.fill_null(pc.equal(values, ""), True)
        if (row := pc.index(missing, True).as_py()) >= 0:
            raise UserError(f"{file} row {row} has no {column}")
    tags = columns.get("lang", pa.repeat(pa.scalar(language, pa.large_string()), len(table)))
    for tag in pc.unique(tags).to_pylist():
        if not LANGUAGE.fullmatch(tag):
            row = pc.index(tags, pa.scalar(tag, pa.large_string())).as_py()
            raise UserError(f"{file} row {row}: {tag!r} is not a language tag")
    tags = _canonical(tags)
    keys = pc.binary_join_element_wise(tags, columns["id"], pa.scalar(":", pa.large_string()))
    spans, order = cut_spans(tags, part_rows)
    return Scanned(pa.chunked_array([keys]), spans, order, _hashes(file) if texts else None)


def folder_language(file: str, language: str | None) -> str | None:
    """The language of all rows of a file: its folder's, as of `lang=de/part-0.parquet`, or else `language`; as this
    project writes it.

    Raises:
        UserError: both are there and differ.
    """
    told = storage.partition_columns(file).get("lang")
    if told and language and languages.normalize(told) != languages.normalize(language):
        raise UserError(f"{file}: its folder says lang={told}, and --language says {language}; leave that out")
    tag = told or language
    return languages.canonical(tag) if tag else None


def cut_spans(tags: pa.Array, part_rows: int) -> tuple[list[Span], np.ndarray]:
    """The spans of a file, each of one language and at most `part_rows` rows, in order of language and row, and the
    rows in that order, int64 [rows].

    Args:
        tags: the language of every row of the file, string [rows].
    """
    encoded = tags.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    rows_by_code = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    by_language = dict(sorted(zip(encoded.dictionary.to_pylist(), rows_by_code, strict=False)))
    spans = [
        Span(language, int(piece[0]), int(piece[-1]) + 1, len(piece))
        for language, rows in by_language.items()
        for first in range(0, len(rows), part_rows)
        for piece in [rows[first : first + part_rows]]
    ]
    return spans, np.concatenate([np.empty(0, dtype=np.int64), *by_language.values()])


def read_spans(file: str, spans: Sequence[Span]) -> Iterator[Texts]:
    """The documents of each of the spans.

    Raises:
        UserError: a text is missing, no string or not UTF-8, or the file has changed since the spans were fixed.
    """
    for span in spans:
        chosen = _rows(file, span.start, span.stop).slice(0, span.stop - span.start)
        chosen = chosen.append_column(ROW, pa.array(np.arange(span.start, span.start + len(chosen))))
        if "lang" in chosen.column_names:
            chosen = chosen.filter(pc.equal(_canonical(_strings(file, chosen, "lang")), span.language))
        if len(chosen) != span.rows:
            raise UserError(f"{file} changed while it was being encoded")
        found = _texts(file, chosen)
        whole = [one for one in found if one is not None]
        if len(whole) < len(found):
            raise UserError(f"{file}: document {span.language}:{chosen['id'][found.index(None)]} has no text")
        ids = [f"{span.language}:{key}" for key in _strings(file, chosen, "id").to_pylist()]
        yield Texts(ids, [one.text for one in whole], [one.title for one in whole])


def _texts(file: str, table: pa.Table) -> list[Titled | None]:
    """The texts with the title in front; None where there is no text."""
    texts = _strings(file, table, "text").to_pylist()
    there = "title" in table.column_names
    titles = _strings(file, table, "title").to_pylist() if there else [None] * len(texts)
    return [None if text is None else titled(title, text) for title, text in zip(titles, texts, strict=True)]


def _hashes(file: str) -> np.ndarray:
    """The hash of the text of every row, uint64 [rows]; 0 where there is none."""
    hashes = [np.empty(0, dtype=np.uint64)]
    first = 0
    with _open(file) as parquet, storage.parquet_errors(file):
        columns = [name for name in ("text", "title") if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(HASHED, columns=columns):
            rows = pa.array(np.arange(first, first + len(batch)))
            found = _texts(file, pa.Table.from_batches([batch]).append_column(ROW, rows))
            hashes.append(hash_texts([one and one.text for one in found]))
            first += len(batch)
    return np.concatenate(hashes)


def _rows(file: str, start: int, stop: int) -> pa.Table:
    """The rows from `start` on, of the row groups that hold [start, stop)."""
    with _open(file) as parquet:
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    stops = np.cumsum(sizes)
    groups = np.flatnonzero((stops > start) & (stops - sizes < stop))
    version = str(storage.version_of(file))
    table = pa.concat_tables([_row_group(file, version, int(group)) for group in groups])
    return table.slice(start - int(stops[groups[0]] - sizes[groups[0]]))


@functools.lru_cache(maxsize=1)  # neighbouring parts share a row group, which may hold a million rows
def _row_group(file: str, version: str, group: int) -> pa.Table:
    """The row group of a file as it is now: `version` changes when the file does."""
    with _open(file) as parquet:
        columns = [name for name in (*COLUMNS, "title") if name in parquet.schema_arrow.names]
        return _checked(file, lambda: parquet.read_row_group(group, columns=columns))


def _open(file: str) -> pq.ParquetFile:
    fs, path = storage.arrow_filesystem(file)
    return _checked(file, lambda: pq.ParquetFile(fs.open_input_file(path)))


def _strings(file: str, table: pa.Table, column: str) -> pa.Array:
    """The column as strings; `table` has the number of each row in column `ROW`, or all rows.

    Whole numbers are written without a point, also those that a missing value made floats on their way here.
    """
    if pa.types.is_floating(table[column].type) and column == "id":
        table = table.set_column(table.column_names.index("id"), "id", _whole(file, table))
    try:
        raw = table[column].cast(pa.large_binary() if _is_text(table[column].type) else pa.large_string())
        values = raw.combine_chunks().view(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(f"{file}: column {column} is {table[column].type}, not string") from None
    try:
        values.validate(full=True)
        return values
    except pa.ArrowInvalid:
        place = next(place for place, value in enumerate(raw.to_pylist()) if value is not None and not is_utf8(value))
        row = table[ROW][place] if ROW in table.column_names else place
        raise UserError(f"{file} row {row}: {column} is not UTF-8") from None


def _whole(file: str, table: pa.Table) -> pa.ChunkedArray:
    """The ids, which are floats, as int64; NaN as a missing one."""
    values = table["id"].cast(pa.float64())
    values = pc.if_else(pc.is_nan(values), None, values)
    exact = pc.and_(pc.equal(pc.floor(values), values), pc.less_equal(pc.abs(values), LARGEST))
    if (place := pc.index(exact, False).as_py()) >= 0:
        row = table[ROW][place] if ROW in table.column_names else place
        raise UserError(f"{file} row {row}: the id {values[place]} is a fraction, or too large to be exact as a float")
    return values.cast(pa.int64())


def _canonical(tags: pa.Array) -> pa.Array:
    """Each tag, large_string [rows], as this project writes it."""
    coded = tags.dictionary_encode()
    ours = pa.array(map(languages.canonical, coded.dictionary.to_pylist()), pa.large_string())
    return ours.take(coded.indices)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)


def _checked(file: str, read: Callable[[], T]) -> T:
    with storage.parquet_errors(file):
        return read()
