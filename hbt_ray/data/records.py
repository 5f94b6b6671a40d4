"""The two parquet schemas users give, the one record form inside, and the check every record passes.

*pairs*: one query and its relevant passage a row, with `query, query_lang, passage, passage_lang` and optionally
`negatives: list<string>` (hard negatives in the passage's language), `group`, `source`.

*parallel*: one language of a translated pair a row, with `group, lang, query, passage` and optionally `negatives`,
`source`; the rows of one `group` are translations of each other.

Inside, both are *records*: a pair in its languages. A record of bitext holds one sentence, which serves as query and as
passage; it counts in cross-lingual batches only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray import languages
from hbt_ray.config import UserError

BATCH_ROWS = 8192  # of what a reader yields

RECORDS = pa.schema(
    [
        ("row", pa.int64()),  # row or line of the file, from 0
        ("source", pa.string()),
        ("group", pa.string()),  # null: alone in its group
        ("query_lang", pa.string()),
        ("passage_lang", pa.string()),
        ("query", pa.string()),
        ("passage", pa.string()),  # of bitext: the sentence again
        ("negatives", pa.list_(pa.string())),
        ("bitext", pa.bool_()),
        ("problem", pa.string()),  # what the reader already found wrong with the row, else null
    ]
)
_TEXTS = ("source", "group", "query_lang", "passage_lang", "query", "passage")
PAIRS = ("query", "query_lang", "passage", "passage_lang")
PARALLEL = ("group", "lang", "query", "passage")
QUARANTINE = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("reason", pa.string()),
        ("query", pa.binary()),
        ("passage", pa.binary()),
    ]
)


class Checked(NamedTuple):
    """Records that can be used (RECORDS, languages normalised), and the others (QUARANTINE)."""

    good: pa.Table
    bad: pa.Table
    unknown_language: str | None  # one line that names the first unknown tag


def tables(rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    """Records from dictionaries, BATCH_ROWS at a time; missing `negatives` and `bitext` mean none and no.

    A value that is no text, or holds half a surrogate pair, becomes the row's problem.
    """
    rows = iter(rows)
    while batch := [_sound({"negatives": [], "bitext": False, **row}) for row in islice(rows, BATCH_ROWS)]:
        yield pa.Table.from_pylist(batch, schema=RECORDS)


def _sound(row: dict[str, Any]) -> dict[str, Any]:
    for name in _TEXTS:
        value = row.get(name)
        if isinstance(value, int) and name == "group":
            row[name] = str(value)
        elif value is not None and not (isinstance(value, str) and _is_encodable(value)):
            row[name], row["problem"] = None, f"{name} is no text"
    return row


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


def from_columns(
    columns: pa.Table, required: Sequence[str], first_row: int, default_source: str, file: str
) -> pa.Table:
    """The rows of the *pairs* or *parallel* schema (named by its `required` columns) as records.

    Raises:
        UserError: a needed column is missing, or one has the wrong type.
    """
    given = [name for name in columns.column_names if not pa.types.is_null(columns.schema.field(name).type)]
    columns = columns.select(given)  # a column of type null, as pandas writes one without values, says nothing
    missing = [name for name in required if name not in given]
    if missing:
        raise UserError(f"{file} has no column {', '.join(missing)} (needed: {', '.join(required)})")
    size = columns.num_rows

    def text(name: str, default: str | None = None) -> pa.Array:
        if name not in columns.column_names:
            return pa.array([default] * size, pa.string())
        column = columns.column(name).combine_chunks()
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if name == "group" and pa.types.is_integer(kind):
            return column.cast(pa.string())
        if not _is_text(kind):
            raise UserError(f"{file}: column {name} is {column.type}, not string")
        return column.cast(pa.binary()).view(pa.string())  # not validated here: a bad row is no bad file

    if "negatives" in columns.column_names:
        negatives = columns.column("negatives").combine_chunks()
        inner = getattr(negatives.type, "value_type", None)
        if inner is None or not (_is_text(inner) or pa.types.is_null(inner)):
            raise UserError(f"{file}: column negatives is {negatives.type}, not list<string>")
        negatives = pc.if_else(pc.is_valid(negatives), negatives, pa.scalar([], negatives.type))
        negatives = negatives.cast(pa.list_(pa.binary()))
        unchecked = negatives.values.view(pa.string())  # not validated here: a bad row is no bad file
        negatives = pa.ListArray.from_arrays(negatives.offsets, unchecked)
    else:
        negatives = pa.array([[]] * size, pa.list_(pa.string()))
    side = "lang" if "lang" in required else None
    source = text("source", default_source)
    return pa.table(
        {
            "row": pa.array(np.arange(first_row, first_row + size)),
            "source": pc.if_else(pc.is_valid(source), source, default_source),
            "group": text("group"),
            "query_lang": text(side or "query_lang"),
            "passage_lang": text(side or "passage_lang"),
            "query": text("query"),
            "passage": text("passage"),
            "negatives": negatives,
            "bitext": pa.array(np.zeros(size, dtype=bool)),
            "problem": pa.nulls(size, pa.string()),
        },
        schema=RECORDS,
    )


def check_records(records: pa.Table, file: str) -> Checked:
    """Sort out records with empty or invalid text or an unknown language tag."""
    reasons = np.full(records.num_rows, None, dtype=object)

    def mark(where: np.ndarray, reason: str) -> None:
        reasons[where & (reasons == None)] = reason  # noqa: E711 (elementwise)

    reasons[:] = records["problem"].to_pylist()
    columns = {}
    for name in ("query", "passage", "group", "source"):
        columns[name], invalid = _decoded(records.column(name))
        mark(invalid, f"{name} is not UTF-8")
    for name in ("query", "passage"):
        empty = pc.equal(pc.fill_null(pc.utf8_trim_whitespace(columns[name]), ""), "")
        mark(empty.to_numpy(zero_copy_only=False), f"{name} is empty")
    negatives = records.column("negatives").combine_chunks()
    flat, invalid = _decoded(negatives.flatten())
    hollow = invalid | pc.equal(pc.fill_null(pc.utf8_trim_whitespace(flat), ""), "").to_numpy(zero_copy_only=False)
    owners = pc.list_parent_indices(negatives).to_numpy()
    mark(np.isin(np.arange(len(reasons)), owners[hollow]), "a negative is empty or not UTF-8")
    unknown_language = None
    for name in ("query_lang", "passage_lang"):
        tags, invalid = _decoded(records.column(name))
        known = {tag: languages.normalize(tag) for tag in pc.unique(tags).to_pylist() if tag is not None}
        columns[name] = pa.array([known.get(tag) for tag in tags.to_pylist()], pa.string())
        unknown = invalid | columns[name].is_null().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(unknown & (reasons == None)):  # noqa: E711 (elementwise)
            reasons[row] = f"unknown language tag {tags[row].as_py()!r} in {name}"
            unknown_language = unknown_language or f"{file} row {records['row'][row]}: {reasons[row]}"
    fine = pa.array(reasons == None)  # noqa: E711 (elementwise)
    for name, column in columns.items():
        records = records.set_column(records.schema.get_field_index(name), name, column)
    broken = pc.invert(fine)
    bad = records.filter(broken)
    quarantined = pa.table(
        {
            "file": pa.array([file] * bad.num_rows, pa.string()),
            "row": bad["row"],
            "reason": pa.array(reasons[broken.to_numpy(zero_copy_only=False)], pa.string()),
            "query": bad["query"].cast(pa.binary()),
            "passage": bad["passage"].cast(pa.binary()),
        },
        schema=QUARANTINE,
    )
    return Checked(records.filter(fine), quarantined, unknown_language)


def _decoded(column: pa.ChunkedArray | pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The strings of `column` with invalid ones emptied, and where those were."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        array.validate(full=True)
        return array, np.zeros(len(array), dtype=bool)
    except pa.ArrowInvalid:
        raw = array.cast(pa.binary()).to_pylist()
    invalid = np.array([value is not None and not _is_utf8(value) for value in raw])
    kept = [None if value is None else "" if bad else value.decode() for value, bad in zip(raw, invalid, strict=True)]
    return pa.array(kept, pa.string()), invalid


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in (*tests, pa.types.is_binary, pa.types.is_large_binary))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
        return True
    except UnicodeDecodeError:
        return False
