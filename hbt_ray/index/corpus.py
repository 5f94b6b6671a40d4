"""A corpus of parquet files: its checks, the fixed parts it is encoded in, and the texts of a part."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hbt_ray import storage
from hbt_ray.config import UserError

T = TypeVar("T")
COLUMNS = ("id", "lang", "text")
LANGUAGE = re.compile(r"[A-Za-z0-9_-]+")  # it names files and stands before the colon of an id


class Part(NamedTuple):
    """The unit of encoding: the rows of `language` among the rows [start, stop) of one corpus file."""

    name: str
    file: str
    language: str
    start: int
    stop: int
    rows: int


class Corpus(NamedTuple):
    """Attributes:
    files: URI and size [bytes] of each file, in order.
    parts: all parts, in order of file, language and row.
    """

    files: list[tuple[str, int]]
    parts: list[Part]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


def scan(corpus: str, part_rows: int) -> Corpus:
    """Check ids and languages of the file, folder or glob `corpus` and fix its parts.

    Memory is that of all `lang:docid` strings: about 30 bytes a document.

    Raises:
        UserError: nothing is there, a file is truncated or lacks a column, there is no row, an id or language is
            missing, or a `lang:docid` occurs twice. Rows are counted from 0.
    """
    files = storage.expand(corpus, (".parquet",))
    languages, keys, sizes = [], [], []
    for file in files:
        ids, tags = _ids_and_languages(file)
        languages.append(tags)
        keys.append(pc.binary_join_element_wise(tags, ids, pa.scalar(":", pa.large_string())))
        sizes.append(storage.size(file))
    if not any(len(tags) for tags in languages):
        raise UserError(f"the corpus {corpus} is empty")
    _refuse_duplicates(files, keys)
    return Corpus(list(zip(files, sizes, strict=True)), plan_parts(files, languages, part_rows))


def plan_parts(files: Sequence[str], languages: Sequence[pa.Array], part_rows: int) -> list[Part]:
    """Cut the rows of each file into parts of one language and at most `part_rows` rows.

    Args:
        languages: the language of every row of each file.
    """
    parts: list[Part] = []
    for file, tags in zip(files, languages, strict=True):
        encoded = tags.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        rows_by_code = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
        for language, rows in sorted(zip(encoded.dictionary.to_pylist(), rows_by_code, strict=True)):
            for first in range(0, len(rows), part_rows):
                piece = rows[first : first + part_rows]
                name = f"{len(parts):06d}-{language}"
                parts.append(Part(name, file, language, int(piece[0]), int(piece[-1]) + 1, len(piece)))
    return parts


def read_texts(part: Part) -> tuple[list[str], list[str]]:
    """Ids (`lang:docid`) and texts, title in front, of the rows of `part`.

    Raises:
        UserError: a text is missing or no string, or the file has changed since the parts were fixed.
    """
    table = _rows(part.file, part.start, part.stop)
    first = table.slice(0, part.stop - part.start)
    chosen = first.filter(pc.equal(first["lang"].cast(pa.large_string()), part.language))
    if len(chosen) != part.rows:
        raise UserError(f"{part.file} changed while it was being encoded")
    texts = _strings(part.file, chosen, "text").to_pylist()
    if None in texts:
        raise UserError(f"{part.file}: document {part.language}:{chosen['id'][texts.index(None)]} has no text")
    if "title" in chosen.column_names:
        titles = _strings(part.file, chosen, "title").to_pylist()
        texts = [f"{title} {text}" if title else text for title, text in zip(titles, texts, strict=True)]
    return [f"{part.language}:{key}" for key in _strings(part.file, chosen, "id").to_pylist()], texts


def _ids_and_languages(file: str) -> tuple[pa.Array, pa.Array]:
    with _open(file) as parquet:
        for column in COLUMNS:
            if column not in parquet.schema_arrow.names:
                raise UserError(f"{file} has no column {column}; it has {', '.join(parquet.schema_arrow.names)}")
        table = _checked(file, lambda: parquet.read(columns=["id", "lang"]))
    ids, tags = (_strings(file, table, column) for column in ("id", "lang"))
    for column, values in (("id", ids), ("lang", tags)):
        missing = pc.fill_null(pc.equal(values, ""), True)
        if (row := pc.index(missing, True).as_py()) >= 0:
            raise UserError(f"{file} row {row} has no {column}")
    for language in pc.unique(tags).to_pylist():
        if not LANGUAGE.fullmatch(language):
            row = pc.index(tags, pa.scalar(language, pa.large_string())).as_py()
            raise UserError(f"{file} row {row}: {language!r} is not a language tag")
    return ids, tags


def _refuse_duplicates(files: Sequence[str], keys: Sequence[pa.Array]) -> None:
    counts = pc.value_counts(pa.chunked_array(keys))
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(repeated) == 0:
        return
    places = [
        f"{file} row {row}"
        for file, values in zip(files, keys, strict=True)
        for row in np.flatnonzero(pc.equal(values, repeated[0]).to_numpy(zero_copy_only=False))
    ]
    others = f"; {len(repeated) - 1} other ids are repeated too" if len(repeated) > 1 else ""
    raise UserError(f"document {repeated[0]} occurs twice: {places[0]} and {places[1]}{others}")


def _rows(file: str, start: int, stop: int) -> pa.Table:
    """The rows from `start` on, of the row groups that hold [start, stop)."""
    with _open(file) as parquet:
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    stops = np.cumsum(sizes)
    groups = np.flatnonzero((stops > start) & (stops - sizes < stop))
    table = pa.concat_tables([_row_group(file, int(group)) for group in groups])
    return table.slice(start - int(stops[groups[0]] - sizes[groups[0]]))


@functools.lru_cache(maxsize=1)  # neighbouring parts share a row group, which may hold a million rows
def _row_group(file: str, group: int) -> pa.Table:
    with _open(file) as parquet:
        columns = [name for name in (*COLUMNS, "title") if name in parquet.schema_arrow.names]
        return _checked(file, lambda: parquet.read_row_group(group, columns=columns))


def _open(file: str) -> pq.ParquetFile:
    fs, path = storage.arrow_filesystem(file)
    return _checked(file, lambda: pq.ParquetFile(fs.open_input_file(path)))


def _strings(file: str, table: pa.Table, column: str) -> pa.Array:
    try:
        return table[column].cast(pa.large_string()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise UserError(f"{file}: column {column} is {table[column].type}, not string") from None


def _checked(file: str, read: Callable[[], T]) -> T:
    with storage.parquet_errors(file):
        return read()
