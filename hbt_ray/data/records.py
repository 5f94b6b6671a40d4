"""The three schemas that users give, the one record form inside, and the check that every record passes.

*pairs*: one query and its relevant passage a row, with `query, query_lang, passage, passage_lang` and optionally
`negatives: list<string>` (hard negatives in the passage's language), `scores: list<float>` (of the passage and then of
each negative), `group`, `source`.

*parallel*: one language of a translated pair a row, with `group, lang, query, passage` and optionally `negatives`,
`scores`, `source`; the rows of one `group` are translations of each other.

*bitext*: one language of a translated sentence a row, with `group, lang, text` and optionally `source`.

Inside, all are *records*: a pair in its languages. A record of bitext holds one sentence, which serves as query and as
passage; it counts in cross-lingual batches only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray import languages
from hbt_ray.storage.text_files import is_utf8

BATCH_ROWS = 8192  # of what a reader yields
BATCH_BYTES = 2**25  # of its texts, about: rows with many negatives are large

RECORDS = pa.schema(
    [
        ("row", pa.int64()),  # row or line of the file, from 0
        ("source", pa.string()),
        ("group", pa.string()),  # null: none, so rows with its query are its group
        ("query_lang", pa.string()),
        ("passage_lang", pa.string()),
        ("query", pa.string()),
        ("passage", pa.string()),  # of bitext: the sentence again
        ("negatives", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),  # of the passage and then of each negative, or empty
        ("bitext", pa.bool_()),
        ("problem", pa.string()),  # what the reader found wrong with the row: one of REASONS, or `reason: value`
    ]
)
_TEXTS = ("source", "group", "query_lang", "passage_lang", "query", "passage")
PAIRS = ("query", "query_lang", "passage", "passage_lang")
PARALLEL = ("group", "lang", "query", "passage")
BITEXT = ("group", "lang", "text")
NOT_OF_FORMAT = "not of this format"
SCORE_COUNT, SCORE_VALUE = "scores do not fit the negatives", "a score is no finite number"
LONELY = "bitext without a translation"  # which only all rows together tell
TEST_ITEM = "a test item"  # of a task that the user excludes: no fault of the row
REASONS = (
    *(f"{name} is empty" for name in ("query", "passage", "a negative")),
    *(f"{name} is not UTF-8" for name in (*_TEXTS, "a negative")),
    *(f"{name} is no text" for name in (*_TEXTS, "a negative")),
    "unknown language tag",
    SCORE_COUNT,
    SCORE_VALUE,
    "no JSON object",
    "wrong number of columns",
    NOT_OF_FORMAT,
    "bad file",
    LONELY,
    TEST_ITEM,
)  # that a row is in quarantine for; what a value has to do with it stands beside them
LARGEST_SCORE = float(np.finfo(np.float32).max)
VALUE_CHARACTERS = 200  # kept of a value
QUARANTINE = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("reason", pa.string()),  # one of REASONS
        ("value", pa.string()),  # what was found, or null
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
    """Records from dictionaries, at most BATCH_ROWS at a time; missing lists are empty, a missing `bitext` is no.

    A value that is no text, or holds half a surrogate pair, becomes the row's problem.
    """
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        record = _sound({"negatives": [], "scores": [], "bitext": False, **row})
        batch.append(record)
        size += sum(len(text or "") for text in (record.get("query"), record.get("passage"), *record["negatives"]))
        if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
            yield pa.Table.from_pylist(batch, schema=RECORDS)
            batch, size = [], 0
    if batch:
        yield pa.Table.from_pylist(batch, schema=RECORDS)


def rows_of_a_batch(rows: int, size: int) -> int:
    """How many rows a reader should yield at once of a table of `rows` rows and `size` bytes."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // size)) if rows and size else BATCH_ROWS


def group_of(texts: Iterable[str]) -> str:
    """A group for translations whose format gives them no id: a hash of the texts, in the order of their columns."""
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:16]


def _sound(row: dict[str, Any]) -> dict[str, Any]:
    for name in _TEXTS:
        value = row.get(name)
        if name == "group" and isinstance(value, int) and not isinstance(value, bool):
            row[name] = str(value)
        elif value is not None and (wrong := _wrong(name, value)):
            row[name], row["problem"] = None, row.get("problem") or wrong
    negatives = row["negatives"] = _as_list(row["negatives"])
    if wrongs := [wrong for value in negatives if (wrong := _wrong("a negative", value))]:
        row["negatives"], row["problem"] = [], row.get("problem") or wrongs[0]
    row["scores"] = _as_list(row["scores"])
    if not all(isinstance(score, int | float) and abs(score) <= LARGEST_SCORE for score in row["scores"]):
        row["scores"], row["problem"] = [], row.get("problem") or f"{SCORE_VALUE}: {row['scores']!r}"
    return row


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _wrong(name: str, value: Any) -> str | None:
    """What is wrong with a value that should be a text; None when nothing is."""
    if not isinstance(value, str):
        return f"{name} is no text: {value!r}"
    try:
        value.encode()
        return None
    except UnicodeEncodeError:  # half a surrogate pair
        return f"{name} is not UTF-8: {value!r}"


def check_records(records: pa.Table, file: str) -> Checked:
    """Sort out records with empty or invalid text or an unknown language tag. An empty group becomes none."""
    problems = np.full(records.num_rows, None, dtype=object)  # `reason` or `reason: value`

    def mark(where: np.ndarray, problem: str) -> None:
        problems[where & (problems == None)] = problem  # noqa: E711 (elementwise)

    problems[:] = records["problem"].to_pylist()
    columns = {}
    for name in ("query", "passage", "group", "source"):
        columns[name], invalid = _decoded(records.column(name))
        mark(invalid, f"{name} is not UTF-8")
    columns["group"] = pc.if_else(pc.equal(columns["group"], ""), pa.scalar(None, pa.string()), columns["group"])
    for name in ("query", "passage"):
        mark(_empty(columns[name]), f"{name} is empty")
    negatives = records.column("negatives").combine_chunks()
    flat, invalid = _decoded(negatives.flatten())
    owners = pc.list_parent_indices(negatives).to_numpy()
    for hollow, problem in ((invalid, "a negative is not UTF-8"), (_empty(flat), "a negative is empty")):
        mark(np.isin(np.arange(len(problems)), owners[hollow]), problem)
    counts, scored = (pc.list_value_length(records.column(name)).to_numpy() for name in ("negatives", "scores"))
    mark((scored > 0) & (scored != counts + 1), SCORE_COUNT)
    scores = records.column("scores").combine_chunks()
    finite = pc.fill_null(pc.is_finite(scores.flatten()), False).to_numpy(zero_copy_only=False)
    mark(np.isin(np.arange(len(problems)), pc.list_parent_indices(scores).to_numpy()[~finite]), SCORE_VALUE)
    unknown_language = None
    for name in ("query_lang", "passage_lang"):
        tags, invalid = _decoded(records.column(name))
        known = {tag: languages.normalize(tag) for tag in pc.unique(tags).to_pylist() if tag is not None}
        columns[name] = pa.array([known.get(tag) for tag in tags.to_pylist()], pa.string())
        unknown = invalid | columns[name].is_null().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(unknown & (problems == None)):  # noqa: E711 (elementwise)
            problems[row] = f"unknown language tag: {tags[row].as_py()!r} in {name}"
            line = f"unknown language tag {tags[row].as_py()!r} in {name}"
            unknown_language = unknown_language or f"{file} row {records['row'][row]}: {line}"
    fine = pa.array(problems == None)  # noqa: E711 (elementwise)
    for name, column in columns.items():
        records = records.set_column(records.schema.get_field_index(name), name, column)
    broken = pc.invert(fine)
    return Checked(
        records.filter(fine),
        quarantined(records.filter(broken), problems[broken.to_numpy(zero_copy_only=False)], file),
        unknown_language,
    )


def quarantined(bad: pa.Table, problems: Iterable[str], file: str) -> pa.Table:
    """Bad records, or the number of a bad row alone, as QUARANTINE has them.

    Args:
        problems: what is wrong with each: one of REASONS, `reason: value`, or else a value to NOT_OF_FORMAT.
    """
    parted = [problem.partition(": ") for problem in problems]
    told = [
        (head, value) if head in REASONS else (NOT_OF_FORMAT, f"{head}{colon}{value}") for head, colon, value in parted
    ]
    nothing = pa.nulls(bad.num_rows, pa.binary())
    return pa.table(
        {
            "file": pa.array([file] * bad.num_rows, pa.string()),
            "row": bad["row"],
            "reason": pa.array([reason for reason, _ in told], pa.string()),
            "value": pa.array([_shown(value[:VALUE_CHARACTERS]) for _, value in told], pa.string()),
            **{
                name: bad[name].cast(pa.binary()) if name in bad.column_names else nothing
                for name in ("query", "passage")
            },
        },
        schema=QUARANTINE,
    )


def _shown(value: str) -> str | None:
    """A value as quarantine has it, without the halves of characters that a text file may have given it."""
    return value.encode(errors="replace").decode() or None


def _empty(texts: pa.Array) -> np.ndarray:
    """Where there is no text but white space, bool [texts]."""
    return pc.equal(pc.fill_null(pc.utf8_trim_whitespace(texts), ""), "").to_numpy(zero_copy_only=False)


def _decoded(column: pa.ChunkedArray | pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The strings of `column` with invalid ones emptied, and where those were."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    try:
        array.validate(full=True)
        return array, np.zeros(len(array), dtype=bool)
    except pa.ArrowInvalid:
        raw = array.cast(pa.binary()).to_pylist()
    invalid = np.array([value is not None and not is_utf8(value) for value in raw])
    kept = [None if value is None else "" if bad else value.decode() for value, bad in zip(raw, invalid, strict=True)]
    return pa.array(kept, pa.string()), invalid
