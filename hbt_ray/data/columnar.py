"""Rows of the three schemas, in columns as Arrow has them, to records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray.config import UserError
from hbt_ray.data.records import RECORDS


def from_columns(
    columns: pa.Table, required: Sequence[str], first_row: int, default_source: str, file: str
) -> pa.Table:
    """The rows of a schema (named by its `required` columns: PAIRS, PARALLEL or BITEXT) as records.

    Raises:
        UserError: a needed column is missing, or one has the wrong type.
    """
    given = [name for name in columns.column_names if not pa.types.is_null(columns.schema.field(name).type)]
    columns = columns.select(given)  # a column of type null, as pandas writes one without values, says nothing
    missing = [name for name in required if name not in given]
    if missing:
        raise UserError(f"{file} has no column {', '.join(missing)} (needed: {', '.join(required)})")
    size = columns.num_rows

    def text(name: str) -> pa.Array:
        return texts_of(columns.column(name), name, file) if name in given else pa.nulls(size, pa.string())

    source = text("source")
    bitext = "text" in required
    query, passage = (text("text"),) * 2 if bitext else (text("query"), text("passage"))
    sides = ("lang", "lang") if "lang" in required else ("query_lang", "passage_lang")
    return pa.table(
        {
            "row": pa.array(np.arange(first_row, first_row + size)),
            "source": pc.if_else(pc.is_valid(source), source, default_source),
            "group": text("group"),
            "query_lang": text(sides[0]),
            "passage_lang": text(sides[1]),
            "query": query,
            "passage": passage,
            "negatives": _lists(columns, "negatives", pa.string(), file),
            "scores": _lists(columns, "scores", pa.float32(), file),
            "bitext": pa.array(np.full(size, bitext)),
            "problem": pa.nulls(size, pa.string()),
        },
        schema=RECORDS,
    )


def texts_of(column: pa.ChunkedArray | pa.Array, name: str, file: str) -> pa.Array:
    """The column as strings that are not validated yet: a bad row is no bad file.

    Raises:
        UserError: it is of another type; a group may also be an integer.
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if name == "group" and pa.types.is_integer(kind):
        return column.cast(pa.string())
    if not is_text(kind):
        hint = "; numbers with a point may be rounded: write ids as integers or strings"
        hint = hint if name == "group" and pa.types.is_floating(kind) else ""
        raise UserError(f"{file}: column {name} is {column.type}, not string{hint}")
    return column.cast(pa.binary()).view(pa.string())


def _lists(columns: pa.Table, name: str, of: pa.DataType, file: str) -> pa.ListArray:
    """The column as lists of strings, not validated yet, or of numbers; none is an empty list."""
    if name not in columns.column_names:
        return pa.array([[]] * columns.num_rows, pa.list_(of))
    column = columns.column(name).combine_chunks()
    inner = getattr(column.type, "value_type", None)
    fits = pa.types.is_floating if pa.types.is_floating(of) else is_text
    inner = inner.value_type if inner is not None and pa.types.is_dictionary(inner) else inner
    if pa.types.is_dictionary(column.type) or inner is None or not (fits(inner) or pa.types.is_null(inner)):
        raise UserError(f"{file}: column {name} is {column.type}, not list<{of}>")
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    values = column.flatten()  # also of lists of a fixed size, large lists and views
    values = values.cast(of) if pa.types.is_floating(of) else values.cast(pa.binary()).view(pa.string())
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32()), values)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are texts, validated or not."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in (*tests, pa.types.is_binary, pa.types.is_large_binary))
