"""First stage of the shuffle: the records of a part, checked, tokenised and laid out by partition of the shuffle.

A partition is a range of the keyed hash of the record's group. So the order is random, the same for any number of parts
and partitions, and the translations of one group meet in one partition.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from tokenizers import Tokenizer

from hbt_ray import storage
from hbt_ray.config import Input, InputConfig, PrepareConfig, UserError
from hbt_ray.data import exchange, inputs, records
from hbt_ray.data.exclude import Exclusion
from hbt_ray.data.existing import Existing
from hbt_ray.data.keys import content_ids, group_ids, partitions_of
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.quarantine import Quarantine
from hbt_ray.data.sources import source_of
from hbt_ray.data.stage import stage_file
from hbt_ray.data.tally import Tally
from hbt_ray.model import tokenizer
from hbt_ray.model.prefixes import usable_texts

# what is shuffled: checked records after tokenisation
TOKENISED = pa.schema(
    [
        ("group", pa.int64()),
        ("content", pa.int64()),  # hash of the texts
        ("source", pa.string()),
        ("query_lang", pa.string()),
        ("passage_lang", pa.string()),
        ("bitext", pa.bool_()),
        ("query", pa.list_(pa.int32())),
        ("passage", pa.list_(pa.int32())),  # of bitext: null, the query says it
        ("negatives", pa.list_(pa.list_(pa.int32()))),
        ("scores", pa.list_(pa.float32())),  # of the passage and then of each negative, or empty
        ("query_text", pa.string()),  # null, like the other texts, where the store keeps none
        ("passage_text", pa.string()),
        ("negatives_text", pa.list_(pa.string())),
        ("file", pa.int32()),  # number of the input file
        ("row", pa.int64()),
    ]
)

TEXTS = ("query", "passage", "negatives")


@dataclass(frozen=True)
class ReadStage:
    """What all parts of this stage have in common; a call does one part.

    Attributes:
        quarantine: folder of bad rows [URI].
        existing: reference to an `Existing`.
        fingerprint: hash of the tokenizer, which lies in `<out>/tokenizer`.
        texts: whether texts are kept beside their tokens.
        width: partitions that a segment is for.
        excluded: reference to a list of `TaskItems`, or None.
    """

    config: PrepareConfig
    folder: str
    partitions: int
    width: int
    run_bytes: int
    fingerprint: str
    texts: bool
    quarantine: str
    existing: Any
    excluded: Any = None

    def __call__(self, number: int, value: list[list[Any]]) -> dict[str, Any]:
        """Write the part's records, as one segment for every `width` partitions in each run, and its bad rows.

        Returns: counts by input and by reason, and where segments begin, `offsets` [runs][segments + 1] in bytes.

        Raises:
            UserError: an input is bad, as `checked_records` says, or has rows of a stream that is there already.
        """
        tally = Tally()
        with Quarantine(stage_file(self.quarantine, number, ".parquet")) as bad:
            runs = _runs(self._tokenised([FilePiece(*piece) for piece in value], tally, bad), self.run_bytes)
            segments = chain.from_iterable(map(self._by_partition, runs))  # which drops a run when it is written
            offsets = exchange.write_segments(stage_file(self.folder, number, ".arrows"), segments)
        starts = range(0, len(offsets) - 1, self._segments)
        return {
            "tally": tally.commit(),
            "quarantined": dict(bad.reasons),
            "offsets": [offsets[start : start + self._segments + 1] for start in starts],
        }

    def _tokenised(self, pieces: list[FilePiece], tally: Tally, bad: Quarantine) -> Iterator[pa.Table]:
        cutter = _cutter(storage.join(self.config.out, "tokenizer"), self.config.max_tokens, self.fingerprint)
        exclusion = _exclusion(self.excluded) if self.excluded is not None else None
        asked = self.config.inputs()
        existing: Existing = ray.get(self.existing)
        for piece in pieces:
            for checked in checked_records(piece, self.config, existing.inputs):
                found, excluded = exclusion.split(checked, piece.uri) if exclusion else (checked, Counter[str]())
                bad.put(found.bad)
                existing.refuse_streams(found.good)
                table, cut = _tokenise(found.good, piece, cutter, self.texts)
                tally.add(str(asked[piece.input].name), found, excluded, table["content"].to_numpy(), cut)
                if table.num_rows:
                    yield table

    @property
    def _segments(self) -> int:
        return -(-self.partitions // self.width)

    def _by_partition(self, run: pa.Table) -> Iterator[pa.Table]:
        """The run's rows of each segment, in the order they came in."""
        partition = partitions_of(run["group"].to_numpy(), self.config.seed, self.partitions)
        return exchange.divided(run, partition // self.width, self._segments)


def checked_records(piece: FilePiece, config: InputConfig, others: Collection[str] = ()) -> Iterator[records.Checked]:
    """The piece's batches, checked. With `on_error` `skip` a bad file ends in one quarantined row.

    Args:
        others: names of inputs that the settings do not have, and the store has.

    Raises:
        UserError: the file is missing or not what the source says, or a tag names no language; not with `skip`.
    """
    try:
        for table in _read(piece, config.inputs(), others):
            found = records.check_records(table, piece.uri)
            if found.unknown_language and config.on_error == "fail":
                raise UserError(found.unknown_language)
            yield found
    except UserError as error:
        if config.on_error == "fail":
            raise
        row = pa.table({"row": pa.nulls(1, pa.int64())})
        bad = records.quarantined(row, [f"bad file: {error}"], piece.uri)
        yield records.Checked(records.RECORDS.empty_table(), bad, None)


def _read(piece: FilePiece, asked: Sequence[Input], others: Collection[str]) -> Iterator[pa.Table]:
    """The piece's unchecked records. With several inputs, a source that rows name is of their input."""
    own = asked[piece.input]
    several = len({*others, *(one.name for one in asked)}) > 1
    for table in source_of(str(own.source)).read(piece, inputs.layout_of(own)):
        if piece.limit is not None:
            table = table.filter(pc.less(table["row"], piece.limit))
            if not table.num_rows:
                return
        if several:
            prefix = pa.scalar(f"{own.name}/", pa.string())
            within = pc.binary_join_element_wise(prefix, table["source"], "")
            source = pc.if_else(pc.equal(table["source"], own.name), table["source"], within)
            table = table.set_column(table.schema.get_field_index("source"), "source", source)
        yield table


def _tokenise(good: pa.Table, piece: FilePiece, cutter: Tokenizer, texts: bool) -> tuple[pa.Table, int]:
    """The records in tokens, with `texts` also what a run can use of their texts, and how many texts were cut."""
    cuts: list[int] = []

    def tokens(texts: pa.Array) -> pa.ListArray:
        found, cut = tokenizer.tokenize_and_count(cutter, texts)
        cuts.append(cut)
        return found

    query, passage, negatives, bitext = (
        good[name].combine_chunks() for name in ("query", "passage", "negatives", "bitext")
    )
    passage = pc.if_else(bitext, "", passage)  # the query says it
    ids = tokens(query), tokens(passage), tokens(negatives.values)
    kept = [pa.nulls(good.num_rows, TOKENISED.field(f"{name}_text").type) for name in TEXTS]
    if texts:
        usable = [
            usable_texts(cutter, some, of_some)
            for some, of_some in zip((query, passage, negatives.values), ids, strict=True)
        ]
        kept = [*usable[:2], pa.ListArray.from_arrays(negatives.offsets, usable[2])]
    table = pa.table(
        {
            "group": pa.array(group_ids(good)),
            "content": pa.array(content_ids(good)),
            **{name: good[name] for name in ("source", "query_lang", "passage_lang", "bitext")},
            "query": ids[0],
            "passage": pc.if_else(bitext, None, ids[1]),
            "negatives": pa.ListArray.from_arrays(negatives.offsets, ids[2]),
            "scores": good["scores"],
            **{f"{name}_text": of_texts for name, of_texts in zip(TEXTS, kept, strict=True)},
            "file": pa.repeat(pa.scalar(piece.number, pa.int32()), good.num_rows),
            "row": good["row"],
        },
        schema=TOKENISED,
    )
    return table, sum(cuts)


def _runs(tables: Iterable[pa.Table], run_bytes: int) -> Iterator[pa.Table]:
    """Tables joined until they are of `run_bytes`, so that memory does not grow with a file that cannot be split."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(table.nbytes for table in held) >= run_bytes:
            yield _joined(held)
    if held:
        yield _joined(held)


def _joined(held: list[pa.Table]) -> pa.Table:
    """The tables as one, and none held any more."""
    joined = pa.concat_tables(held).combine_chunks()
    held.clear()
    return joined


@lru_cache(maxsize=2)
def _cutter(uri: str, max_tokens: int, fingerprint: str) -> Tokenizer:
    """The tokenizer in this process; the fingerprint tells it from one that lay there before."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a task has one CPU
    return tokenizer.cutter(uri, max_tokens)


@lru_cache(maxsize=1)
def _exclusion(excluded: Any) -> Exclusion:
    """What the referenced items exclude, in this process."""
    return Exclusion(ray.get(excluded))
