"""Pairs of plain files aligned by line, as OPUS and statmt.org publish bitext for Moses.

`europarl-v7.de-en.de` and `europarl-v7.de-en.en`, plain, .gz or .xz.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import rows
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.sources.lines import Row
from hbt_ray.data.sources.translations import sentences
from hbt_ray.storage import text_files

NAME = re.compile(r"(.*)\.([A-Za-z_]+)-([A-Za-z_]+)\.([A-Za-z_]+)(\.gz|\.xz)?$")
# what OPUS packs with such files
BESIDE = re.compile(r"(?:^|/)(?:README|LICENSE)[^/]*$|\.(?:ids|xml|scores)(?:\.gz)?$")


def read_moses(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """Two records of bitext a line of `name.de-en.de` and of `name.de-en.en`, which is found beside it.

    The pair is read where its first language's file is met; the second's gives none, as do the files that OPUS packs
    with them.

    Raises:
        UserError: a file is missing, truncated, of another name or longer than the other.
    """
    rows.refuse_languages(piece, layout)
    if BESIDE.search(piece.uri):
        return iter(())
    match = NAME.match(piece.uri)
    if match is None or match[4] not in (match[2], match[3]):
        raise UserError(f"{piece.uri} is no file of a pair such as name.de-en.de and name.de-en.en")
    if match[4] == match[3] != match[2]:
        return iter(())
    other = f"{match[1]}.{match[2]}-{match[3]}.{match[3]}{match[5] or ''}"
    return records.tables(_moses(piece.uri, other, layout, (match[2], match[3])))


def _moses(first: str, second: str, layout: Layout, languages: tuple[str, str]) -> Iterator[dict[str, Any]]:
    both = zip_longest(text_files.read_lines(first), text_files.read_lines(second))
    for number, (line, translation) in enumerate(both):
        if line is None or translation is None:
            raise UserError(f"{first} and {second} are not aligned: one ends at line {number}, the other goes on")
        texts = [text.decode("utf-8", "surrogateescape").strip() for text in (line, translation)]
        yield from sentences(Row(number, {}), dict(zip(languages, texts, strict=True)), layout.name)


MOSES = Source(read_moses, ("",))
