"""Rows of JSON lines, parquet and Arrow files as dictionaries, for formats that are read row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import lines, parquet
from hbt_ray.data.sources.layout import Layout
from hbt_ray.data.sources.lines import Row

TABLES = (".parquet", *parquet.ARROW)
SUFFIXES = (*lines.JSON, *TABLES)


def read_rows(piece: FilePiece, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of the piece; one that lacks a needed key has a problem. Of tables only the columns named are read.

    Raises:
        UserError: the file is missing or truncated, or its columns, or the keys of its first line, lack a needed one.
    """
    if piece.uri.endswith(TABLES):
        yield from _table_rows(piece, needed, optional)
        return
    for row in lines.rows(piece.uri):
        if not row.problem and not all(name in row.values for name in needed):
            found = f"keys {', '.join(row.values) or 'none'}; needed: {', '.join(needed)}"
            row = Row(row.number, {}, f"{records.NOT_OF_FORMAT}: {found}")
        if row.number == 0 and row.problem:
            raise UserError(f"{piece.uri} line 1: {row.problem}")
        yield row


def bad(row: Row, problem: str = records.NOT_OF_FORMAT) -> dict[str, Any]:
    """A record of a row that cannot be used: for the problem it has, or else for this one."""
    return {"row": row.number, "problem": row.problem or problem}


def languages_of(
    piece: FilePiece, layout: Layout, told: str | None = None, default: str | None = None
) -> tuple[str, str]:
    """Language of the queries and of the passages.

    Args:
        told: the language that the file's name tells, where its folders do not say more in `piece.constants`.
        default: the language of the data set as it is published, which the user's takes the place of.

    Raises:
        UserError: nothing tells one of them, or the user names another than the file's name or folders.
    """
    constants = dict(piece.constants)
    either = constants.get("lang", told)
    query = _one(piece.uri, layout.query_language, constants.get("query_lang", either), default)
    return query, _one(piece.uri, layout.passage_language, constants.get("passage_lang", either), default)


def refuse_languages(piece: FilePiece, layout: Layout) -> None:
    """Check that no language is given for a format whose rows all tell theirs.

    Raises:
        UserError: one is given.
    """
    if given := layout.query_language or layout.passage_language:
        raise UserError(f"{piece.uri}: its rows tell their languages; leave out the language {given}")


def titled(title: Any, text: Any) -> Any:
    """The text with its title, if there is one, in front, as `encode` joins them."""
    return f"{title} {text}" if title and isinstance(title, str) and isinstance(text, str) else text


def is_texts(value: Any) -> bool:
    """Whether the value is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _one(uri: str, asked: str | None, told: str | None, default: str | None) -> str:
    if asked and told and languages.normalize(asked) != languages.normalize(told):
        raise UserError(f"{uri} is in {told} by its name or folder, not in {asked}; leave out the language")
    found = asked or told or default
    if found is None:
        raise UserError(f"{uri}: nothing tells its language; give --language")
    return found


def _table_rows(piece: FilePiece, needed: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    def choose(names: Sequence[str]) -> list[str]:
        if missing := [name for name in needed if name not in names]:
            raise UserError(f"{piece.uri} has no column {', '.join(missing)}; it has {', '.join(names)}")
        return [name for name in (*needed, *optional) if name in names]

    for first, batch in parquet.batches(piece, choose):
        for number, values in enumerate(batch.to_pylist(), start=first):
            yield Row(number, values)
