"""What a reader is, and what it is told about the files it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from hbt_ray.data.pieces import FilePiece


@dataclass(frozen=True)
class Layout:
    """What the user says of an input.

    Attributes:
        name: name of the input, which is the source of rows that name none.
        query_language, passage_language: language of all rows, where the user names one [BCP-47].
        columns: our column to theirs, as `query` to `anchor`.
        split: the split asked for, where the reader chooses it itself (`Source.reads_splits`).
    """

    name: str
    query_language: str | None = None
    passage_language: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """A format of training pairs.

    Attributes:
        read: function of a piece of a file and the input's layout to batches of unchecked records, tables of the schema
            RECORDS.
        suffixes: endings of the files that a folder is searched for; none: the source is built in and has no files.
        row_groups: function of a file to the size of each of its row groups [bytes]; None: a file is read as a whole.
        keys: columns, or keys of JSON lines, by which files of this format are known where no format is named; of
            several formats that fit, the one with most keys is taken. None named: this format has to be named.
        reads_splits: whether the reader chooses the rows of `layout.split` itself, as names of files do not.
        path_columns: function of a file's path below the input's folder to the columns that this layout's folders or
            names say, such as `{"lang": "deu"}`; they become `piece.constants`.
    """

    read: Callable[[FilePiece, Layout], Iterator[pa.Table]]
    suffixes: tuple[str, ...]
    row_groups: Callable[[str], tuple[int, ...]] | None = None
    keys: tuple[str, ...] = ()
    reads_splits: bool = False
    path_columns: Callable[[str], Mapping[str, str]] | None = None
