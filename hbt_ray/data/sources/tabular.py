"""*pairs*, *parallel* and *bitext* in any table: parquet, Arrow, JSON lines, values separated by comma or tab."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data import columnar, records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import lines, parquet
from hbt_ray.data.sources.columns import NEEDED, Columns, Form, WrongColumns, resolve
from hbt_ray.data.sources.layout import Layout, Source

FORMS: tuple[Form, ...] = ("pairs", "parallel", "bitext")
SUFFIXES = (".parquet", *parquet.ARROW, *lines.CSV, *lines.TSV, *lines.JSON)
KINDS = ((".parquet",), parquet.ARROW, lines.CSV, lines.TSV, lines.JSON)
LINES = (*lines.CSV, *lines.TSV, *lines.JSON)


def names(uri: str, layout: Layout) -> list[str]:
    """The columns of a table, or the keys of its first line.

    Raises:
        UserError: the file is missing or damaged.
    """
    return lines.names(uri, layout.columns.values()) if uri.endswith(LINES) else parquet.names(uri)


def reader(form: Form) -> Callable[[FilePiece, Layout], Iterator[pa.Table]]:
    """A function that reads the records of tables of one form.

    Raises, when it reads:
        UserError: the file is missing or damaged, a column is missing or of the wrong type, or a row is in another
            language than the settings say.
    """

    def read(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
        return _of_lines(piece, layout, form) if piece.uri.endswith(LINES) else _of_columns(piece, layout, form)

    return read


def _of_columns(piece: FilePiece, layout: Layout, form: Form) -> Iterator[pa.Table]:
    uri = piece.uri
    found: list[Columns] = []

    def choose(there: Sequence[str]) -> list[str]:
        found.append(resolve(uri, there, form, layout, dict(piece.constants)))
        return found[0].read

    for row, table in parquet.batches(piece, choose):
        if found[0].texts:
            yield from _wide(table, found[0], row, layout.name, uri)
        else:
            yield columnar.from_columns(_ours(table, found[0], row, uri), NEEDED[form], row, layout.name, uri)


def _ours(table: pa.Table, columns: Columns, row: int, uri: str) -> pa.Table:
    """The table with our columns; `row` is the number of its first row."""
    ours: dict[str, Any] = {}
    for name, theirs in columns.theirs.items():
        if name in columns.expected:
            for place, tag in enumerate(table[theirs[0]].to_pylist()):
                _refuse_other(uri, row + place, theirs[0], tag, columns.expected[name])
        elif name == "scores" and len(theirs) > 1:
            both = zip(*(table[column].to_pylist() for column in theirs), strict=True)
            ours[name] = pa.array([_scores(*one) for one in both], pa.list_(pa.float32()))
        elif name == "negatives" and (len(theirs) > 1 or columnar.is_text(table.schema.field(theirs[0]).type)):
            ours[name] = _gathered([columnar.texts_of(table[column], column, uri) for column in theirs])
        else:
            ours[name] = table[theirs[0]]
    constants = {**columns.expected, **columns.fixed}
    return pa.table(
        {**ours, **{name: pa.array([value] * table.num_rows, pa.string()) for name, value in constants.items()}}
    )


def _wide(table: pa.Table, columns: Columns, row: int, source: str, uri: str) -> Iterator[pa.Table]:
    """Records of bitext with a column for each language, one language after the other; a missing text is none."""
    if "group" in columns.theirs:
        group = table[columns.theirs["group"][0]]
    else:
        texts = zip(*(table[column].to_pylist() for column in columns.texts.values()), strict=True)
        group = pa.array([records.group_of(str(text) for text in one if text is not None) for one in texts])
    shared = {"source": table[columns.theirs["source"][0]]} if "source" in columns.theirs else {}
    for language, column in columns.texts.items():
        tags = pa.array([language] * table.num_rows)
        ours = pa.table({**shared, "group": group, "lang": tags, "text": table[column]})
        found = columnar.from_columns(ours, records.BITEXT, row, source, uri)
        yield found.filter(pc.is_valid(found["query"]))


def _gathered(columns: Sequence[pa.Array]) -> pa.ListArray:
    """The texts of a row's columns as a list, without missing and empty ones."""
    count = len(columns[0])
    order = np.arange(len(columns) * count).reshape(len(columns), count).T.ravel()
    values = pa.concat_arrays(columns).take(pa.array(order))
    kept = pc.fill_null(pc.greater(pc.binary_length(values), 0), False)
    counts = kept.to_numpy(zero_copy_only=False).reshape(count, len(columns)).sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values.filter(kept))


def _of_lines(piece: FilePiece, layout: Layout, form: Form) -> Iterator[pa.Table]:
    @lru_cache(maxsize=64)  # lines of a file mostly have the same keys
    def columns_of(names: tuple[str, ...]) -> Columns:
        return resolve(piece.uri, names, form, layout, dict(piece.constants))

    def found() -> Iterator[dict[str, Any]]:
        fits = False
        for row in lines.rows(piece.uri, layout.columns.values()):
            try:
                if row.problem is None:
                    yield from _records(row, columns_of(tuple(row.values)), layout.name, piece.uri)
                    fits = True
                    continue
                problem = row.problem
            except WrongColumns as error:
                if not fits:
                    raise UserError(f"{piece.uri} line {row.number + 1}{error.reason}") from None
                problem = f"{records.NOT_OF_FORMAT}:{error.reason}"
            yield {"row": row.number, "problem": problem}

    return records.tables(found())


def _records(row: lines.Row, columns: Columns, source: str, uri: str) -> Iterator[dict[str, Any]]:
    values = row.values
    ours: dict[str, Any] = {"row": row.number, "source": source, **columns.expected, **columns.fixed}
    for name, theirs in columns.theirs.items():
        value = values[theirs[0]]
        if name in columns.expected:
            _refuse_other(uri, row.number, theirs[0], value, columns.expected[name])
        elif name == "negatives" and len(theirs) > 1:
            ours[name] = [values[column] for column in theirs if values[column] not in (None, "")]
        elif name == "scores" and len(theirs) > 1:
            ours[name] = _scores(*(values[column] for column in theirs))
        elif value not in (None, ""):
            ours[name] = value
    if not columns.texts:
        yield _record(ours)
        return
    texts = {language: values[column] for language, column in columns.texts.items() if values[column] is not None}
    ours.setdefault("group", records.group_of(map(str, texts.values())))
    for language, text in texts.items():
        yield _record({**ours, "lang": language, "text": text})


def _record(ours: dict[str, Any]) -> dict[str, Any]:
    """The record of a row with our columns."""
    sides = {}
    if "text" in ours:
        sides = {"query": ours["text"], "passage": ours["text"], "bitext": True}
    if "lang" in ours:
        sides |= {"query_lang": ours["lang"], "passage_lang": ours["lang"]}
    return {name: value for name, value in {**ours, **sides}.items() if name in records.RECORDS.names}


def _scores(score: Any, negatives: Any) -> list[Any]:
    """Scores of the passage and of the negatives, which `mine` writes apart, in one list."""
    return [] if score is None else [score, *(negatives or [])]


def _refuse_other(uri: str, row: int, column: str, told: Any, tag: str) -> None:
    if isinstance(told, str) and told and languages.normalize(told) != languages.normalize(tag):
        raise UserError(f"{uri} row {row}: column {column} says {told}, where the settings or the folder say {tag}")


TABULAR: dict[str, Source] = {form: Source(reader(form), SUFFIXES, parquet.row_groups) for form in FORMS}
