"""One stream of a store, and two with translations of each other, as the manifest describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from hbt_ray.config.data import PLAIN
from hbt_ray.data import lengths
from hbt_ray.storage.fields import Below, Count, Hash, Shape, Size

Kind = Literal["pairs", "cross-lingual", "bitext"]
Role = Literal[
    "group", "query", "passage", "negatives", "scores", "query_text", "passage_text", "negatives_text"
]  # a column of a pair
Two = Field(min_length=2, max_length=2)
Histogram = Annotated[list[Count], Field(max_length=len(lengths.edges))]


@dataclass(frozen=True)
class Stream:
    """One stream as its manifest describes it.

    Attributes:
        kind: `pairs`: query and passage in one language; `cross-lingual`: in two; `bitext`: one sentence a row.
        languages: of the queries and of the passages.
        rows: number of pairs in the stream.
        files: path below the store and rows of each file, in stream order.
        tokens: all tokens of (queries, passages).
        lengths: histograms of the lengths of (queries, passages), see `data/lengths.py`.
        row_group_rows: rows of every row group but the last.
        scored: number of rows with scores.
        text_tokens: of the texts beside the tokens, as many tokens can be used with any prefix; None: there are none.
        store, weight: name of the store among those of a run, and how often a row of it is drawn while one of a store
            with weight 1 is drawn once.
    """

    name: str
    source: str
    kind: Kind
    languages: tuple[str, str]
    rows: int
    files: tuple[tuple[str, int], ...]
    tokens: tuple[int, int]
    lengths: tuple[tuple[int, ...], tuple[int, ...]]
    row_group_rows: int
    scored: int = 0
    text_tokens: int | None = None
    store: str = PLAIN
    weight: int = 1

    def column(self, role: Role) -> str | None:
        """The stored column for this one of a pair's, or None when there is none."""
        if role == "scores" and not self.scored:
            return None
        if self.kind == "bitext":
            instead = {"passage": "query", "passage_text": "query_text", "negatives": None, "negatives_text": None}
            return instead.get(role, role)
        return role


class Matched(NamedTuple):
    """Two streams with translations of each other.

    Attributes:
        left, right: their numbers, left < right.
        rows: number of matches.
        block_rows: matches that are found together.
    """

    left: int
    right: int
    rows: int
    block_rows: int


class _File(Shape):
    path: Below
    rows: Count
    bytes: Count


class _Lengths(Shape):
    query: Histogram
    passage: Histogram


class _Stream(Shape):
    name: Below
    source: str
    kind: Kind
    languages: Annotated[list[str], Two]
    rows: Count
    files: list[_File]
    tokens: Annotated[list[Count], Two]
    lengths: _Lengths
    scored: Count = 0


class _Alignment(Shape):
    fingerprint: Hash
    block_rows: Size


class _Tokenizer(Shape):
    fingerprint: str


class _Texts(Shape):
    max_tokens: Size


class _OfLanguage(Shape):
    queries: Count
    query_tokens: Count
    passages: Count
    passage_tokens: Count


class _Counts(Shape):
    files: Count = 0
    read: Count = 0
    kept: Count = 0
    duplicates: Count = 0
    quarantined: dict[str, Count] = Field({})
    excluded: dict[str, Count] = Field({})
    by_source: dict[str, Count] = Field({})
    by_language: dict[str, _OfLanguage] = Field({})


class StoreShape(Shape):
    """What the manifest of a stream store has to hold; one of an earlier version has no alignment."""

    seed: Count
    row_group_rows: Size
    alignment: _Alignment
    tokenizer: _Tokenizer
    texts: _Texts = _Texts(max_tokens=1)
    licenses: dict[str, str] = Field({})
    inputs: dict[str, dict[str, Any]] = Field({})
    counts: _Counts
    streams: list[_Stream]

    @model_validator(mode="before")
    @classmethod
    def _is_of_now(cls, manifest: Any) -> Any:
        if isinstance(manifest, dict) and "alignment" not in manifest:
            raise ValueError("it was prepared by an earlier version of hbt_ray: prepare it again, into another folder")
        return manifest


def stream_of(entry: dict[str, Any], row_group_rows: int, text_tokens: int | None) -> Stream:
    """The stream that a manifest describes in an entry, in a store with these."""
    query, passage = entry["languages"]
    return Stream(
        name=entry["name"],
        source=entry["source"],
        kind=entry["kind"],
        languages=(query, passage),
        rows=entry["rows"],
        files=tuple((file["path"], file["rows"]) for file in entry["files"]),
        tokens=(entry["tokens"][0], entry["tokens"][1]),
        lengths=(tuple(entry["lengths"]["query"]), tuple(entry["lengths"]["passage"])),
        row_group_rows=row_group_rows,
        scored=entry.get("scored", 0),
        text_tokens=text_tokens,
    )
