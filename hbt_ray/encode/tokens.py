"""Texts to token ids on CPU tasks ahead of the encoders; kept on storage if wanted, for every checkpoint encoded later.

Kept parts hold the text's own ids alone, and are named by what they hold. What a role puts around them is added when
they are read, so one folder serves queries and passages, any prefix and any length limit, and any corpus.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode import embeddings, texts
from hbt_ray.encode.documents import hash_documents, part_name
from hbt_ray.encode.spans import Part, Texts
from hbt_ray.model import tokenizer as tokenizers
from hbt_ray.model.prefixes import joins
from hbt_ray.model.tokenizer import Template
from hbt_ray.storage import parts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 512  # text that is kept for encoders that take no more [tokens]


class SerializedTokenizer(NamedTuple):
    """A tokenizer for processes that do without torch.

    Attributes:
        text: the tokenizer as JSON.
        side: where texts are cut, `right` or `left`.
        fingerprint: hash of what decides the tokens.
    """

    text: str
    side: str
    fingerprint: str


@dataclass(frozen=True)
class Tokenize:
    """The Ray Data task: reads groups of parts and gives each part's token ids, prefix and special tokens included.

    Attributes:
        tokenizer: what cuts texts into tokens.
        prefix: text put before every text.
        limit: longest text, all included [tokens].
        texts: collection that is to hold the texts [URI]; None: none is.
        kept: folder of kept parts; those missing are added; None: nothing is kept.
        template: what is put around kept tokens.
        longest: text that is kept [tokens].
    """

    tokenizer: SerializedTokenizer
    prefix: str
    limit: int
    texts: str | None = None
    kept: str | None = None
    template: Template | None = None
    longest: int = LONGEST

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Give one row for each part of the batch's one group.

        A row has the `part`'s fields, its `tokens` as `pack_table` has them, the sha256 of its `texts` in the
        collection, and `error`, a user's mistake, which Ray Data would disguise.
        """
        group = [Part(**fields) for fields in batch["group"][0].as_py()]
        done = 0
        try:
            for part, found in zip(group, corpora.read_texts(group), strict=True):
                if part_name(part.language, hash_documents(found.ids, found.texts)) != part.name:
                    raise UserError(f"{part.file} changed while it was being encoded")
                table = pa.table({"id": found.ids, "tokens": self._tokens(part, found)})
                stored = "" if self.texts is None else texts.write(self.texts, found)
                yield _row(part, pack_table(table), stored, "")
                done += 1
        except UserError as error:
            yield _row(group[done], b"", "", str(error))

    def _tokens(self, part: Part, found: Texts) -> pa.ListArray:
        if self.kept is None:
            prefixed = pa.array([self.prefix + text for text in found.texts])
            return tokenizers.tokenize(_cutter(self.tokenizer, self.limit), prefixed, special_tokens=True)
        assert self.template is not None
        commit = parts.do(storage.join(self.kept, "commits"), part.name, partial(self._keep, part, found)).commit
        table = embeddings.read_table(storage.join(self.kept, "parts", commit["file"]), commit["sha256"])
        kept = split_lists(table["tokens"].combine_chunks())
        return join_lists([self.template.apply(row, self.limit) for row in kept])

    def _keep(self, part: Part, found: Texts) -> dict[str, Any]:
        """Write the tokens of a part, under a name that no other writer has."""
        assert self.kept is not None
        cut = tokenizers.tokenize(_cutter(self.tokenizer, self.longest), pa.array(found.texts))
        file = f"{part.name}-{uuid.uuid4().hex}.parquet"
        sha256 = embeddings.write_table(
            storage.join(self.kept, "parts", file), pa.table({"id": found.ids, "tokens": cut})
        )
        return {"rows": part.rows, "file": file, "sha256": sha256}


def kept_for(kept: str, limit: int) -> tuple[str, int]:
    """The folder of kept parts for encoders with this limit, and the longest text in it, special tokens left out
    [tokens]: one folder for all that take no more than `LONGEST`, and one within it for each doubling."""
    longest = max(LONGEST, 1 << (limit - 1).bit_length())
    return (kept if longest == LONGEST else storage.join(kept, f"up-to-{longest}")), longest


def template_of(tokenizer: SerializedTokenizer, prefix: str) -> Template:
    """The template that is put around kept tokens.

    Raises:
        UserError: the prefix changes the tokens of a text, or texts are cut at their beginning.
    """
    if tokenizer.side != "right":
        raise UserError("--tokens: the model's tokenizer cuts long texts at their beginning, kept ones at their end")
    from transformers import PreTrainedTokenizerFast

    found = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer.text))
    if not joins(found, prefix):
        raise UserError(f"--tokens: with this tokenizer prefix {prefix!r} changes a text's tokens: leave --tokens out")
    return Template(found, prefix)


def serialize(tokenizer: PreTrainedTokenizerBase) -> SerializedTokenizer:
    """The tokenizer as processes without torch can have it."""
    text = tokenizer.backend_tokenizer.to_str()  # type: ignore[attr-defined]
    return SerializedTokenizer(text, tokenizer.truncation_side, tokenizers.tokenizer_fingerprint(tokenizer))


def claim_tokens(kept: str, tokenizer: SerializedTokenizer) -> None:
    """Take the folder of kept parts for this tokenizer, or find that it is its already.

    Raises:
        UserError: it is another's; the line names what differs.
    """
    storage.claim(kept, "tokens", {"tokenizer": tokenizer.fingerprint})


def pack_table(table: pa.Table) -> bytes:
    """A table as one value of a Ray Data row."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def unpack_table(value: pa.Scalar) -> pa.Table:
    """The table that `pack_table` made one value of."""
    return pa.ipc.open_stream(value.as_buffer()).read_all()


def split_lists(lists: pa.ListArray) -> list[np.ndarray]:
    """The numbers of each list, int32 [its length], of list<int32> [lists]; nothing is copied."""
    offsets = lists.offsets.to_numpy()
    flat = lists.values.to_numpy()
    return [flat[start:stop] for start, stop in pairwise(offsets)]


def join_lists(rows: Sequence[np.ndarray]) -> pa.ListArray:
    """The rows, int32 [tokens] each, as list<int32> [rows], which `split_lists` takes apart."""
    ends = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(rows).astype(np.int32)))


def _row(part: Part, found: bytes, stored: str, error: str) -> pa.Table:
    packed = pa.array([found], pa.large_binary())
    return pa.table({"part": [part._asdict()], "tokens": packed, "texts": [stored], "error": [error]})


@lru_cache(maxsize=2)
def _cutter(tokenizer: SerializedTokenizer, limit: int) -> Tokenizer:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a task is one of several
    found = Tokenizer.from_str(tokenizer.text)
    found.enable_truncation(limit, direction=tokenizer.side)
    found.no_padding()
    return found
