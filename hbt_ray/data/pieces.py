"""What `prepare` is cut into before it starts: pure functions of what the input files weigh."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PARTITION_ROWS = 2**24


class Sizes(NamedTuple):
    """How large the pieces of work are, which bounds memory. Only `file_row_groups` decides what the store is, and with
    `train:N` `part_bytes` decides which texts the vocabulary is learned from.

    Attributes:
        part_bytes: input of one part, and of one partition [bytes].
        run_bytes: tokenised data held before it is written [bytes].
        file_row_groups: length of a stream's files [row groups].
        fan_out: segments that one task writes, and files that one task reads of, each by a request of its own. With
            more partitions than that the shuffle has two levels.
        largest: most that a partition may be, as the exchange has it: four times what is usual [bytes].
    """

    part_bytes: int = 32 * 2**20
    run_bytes: int = 32 * 2**20
    file_row_groups: int = 128
    fan_out: int = 512
    largest: int = 2**27


class InputFile(NamedTuple):
    """One file of an input.

    Attributes:
        size: [bytes].
        row_groups: where it may be split, the size of each row group, in order [bytes].
        input, constants: as of its pieces.
        limit: its rows from this number on are not read.
    """

    uri: str
    size: int
    row_groups: tuple[int, ...] = ()
    input: int = 0
    constants: tuple[tuple[str, str], ...] = ()
    limit: int | None = None


class FilePiece(NamedTuple):
    """What a reader reads in one go: a file (the `number`-th of all), or its row groups first … stop.

    Attributes:
        stop: None: the whole file.
        input: number of the input among those of the settings.
        constants: columns that all rows have in common and the file's folders tell, such as `("lang", "de")`.
        limit: rows from this number on are not read; None: all are.
    """

    uri: str
    number: int = 0
    first: int = 0
    stop: int | None = None
    input: int = 0
    constants: tuple[tuple[str, str], ...] = ()
    limit: int | None = None


class ReadPart(NamedTuple):
    """Consecutive pieces that one task reads, and their size [bytes]."""

    pieces: tuple[FilePiece, ...]
    size: int


def bundle(files: Iterable[InputFile], part_bytes: int) -> list[ReadPart]:
    """Cut files into parts of at most `part_bytes`, or of one file or row group, in order.

    A small file counts as 1/128 of a part: opening it takes as long.
    """
    parts: list[ReadPart] = []
    pieces: list[FilePiece] = []
    held = 0
    for number, file in enumerate(files):
        units = file.row_groups or (max(file.size, part_bytes // 128),)
        for row_group, size in enumerate(units):
            if pieces and held + size > part_bytes:
                parts.append(ReadPart(tuple(pieces), held))
                pieces, held = [], 0
            if pieces and pieces[-1].number == number:
                pieces[-1] = pieces[-1]._replace(stop=row_group + 1)
            else:
                stop = row_group + 1 if file.row_groups else None
                pieces.append(FilePiece(file.uri, number, row_group, stop, file.input, file.constants, file.limit))
            held += size
    return [*parts, ReadPart(tuple(pieces), held)] if pieces else parts


def partitions(files: Iterable[InputFile], part_bytes: int, rows: int = 0) -> int:
    """The number of partitions of the shuffle: one for every `part_bytes` of input and for every `PARTITION_ROWS` of
    the `rows` that a store has already, in which partners are looked for."""
    return max(-(-sum(file.size for file in files) // part_bytes), -(-rows // PARTITION_ROWS), 1)
