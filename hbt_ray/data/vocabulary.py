"""The tokenizer of a store: a named one, or one learned from a sample of the input; written once, marked when whole."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hbt_ray import storage
from hbt_ray.config import PrepareConfig, UserError
from hbt_ray.data.keys import group_ids, shuffle_order
from hbt_ray.data.pieces import FilePiece, ReadPart
from hbt_ray.data.read import checked_records
from hbt_ray.data.stage import Stage
from hbt_ray.model import tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEARN_RECORDS = 50_000  # a vocabulary is learned from, each with two texts, and how much of each [characters]
LEARN_CHARACTERS = 300
SIDES = ("query", "passage")
DRAWN = pa.schema([("order", pa.uint64()), *((side, pa.string()) for side in SIDES)])
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleStage:
    """The stage that draws the texts to learn from; a call does one part."""

    config: PrepareConfig

    def __call__(self, number: int, value: list[Any]) -> dict[str, Any]:
        """Draw the texts of as many records as `value`, `[records, pieces]`, says: those with the first hashes.

        Raises:
            UserError: an input is bad, as `checked_records` says.
        """
        most, pieces = value
        drawn = DRAWN.empty_table()
        for piece in (FilePiece(*piece) for piece in pieces):
            for found in checked_records(piece, self.config):
                order = shuffle_order(group_ids(found.good), self.config.seed + 1)
                texts = [pc.utf8_slice_codeunits(found.good[name], 0, LEARN_CHARACTERS) for name in SIDES]
                drawn = pa.concat_tables([drawn, pa.table([pa.array(order), *texts], schema=DRAWN)])
                drawn = drawn.take(pa.array(np.argsort(drawn["order"].to_numpy(), kind="stable")[:most]))
        return {"texts": [text for name in SIDES for text in drawn[name].to_pylist()]}


def pieces_of(name: str) -> int | None:
    """N of `train:N`, or None for the name of a tokenizer.

    Raises:
        UserError: N is no number of pieces.
    """
    if not name.startswith("train:"):
        return None
    pieces = name.partition(":")[2]
    if not pieces.isdigit() or int(pieces) < 100:
        raise UserError(f"--tokenizer {name}: train:N needs N of at least 100 pieces")
    return int(pieces)


def named_tokenizer(config: PrepareConfig) -> PreTrainedTokenizerBase | None:
    """The tokenizer that the settings name; None: it is to be learned.

    Raises:
        UserError: there is none of that name.
    """
    if config.tokenizer is None or pieces_of(config.tokenizer) is not None:
        return None
    return tokenizer.load_tokenizer(config.tokenizer)


def settle(config: PrepareConfig, parts: Sequence[ReadPart], named: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    """Write `<out>/tokenizer`, unless an earlier run did: `named`, or one learned from the parts.

    Returns: its `fingerprint` and number of `pieces`.

    Raises:
        UserError: there is nothing to learn from, or too little for so many pieces.
    """
    marker = storage.join(config.out, "work", "tokenizer.json")
    if not storage.exists(marker):
        chosen = _learn(config, parts) if named is None else named
        with tempfile.TemporaryDirectory() as folder:
            chosen.save_pretrained(folder)
            storage.upload(folder, storage.join(config.out, "tokenizer"))
        storage.write_json(marker, {"fingerprint": tokenizer.tokenizer_fingerprint(chosen), "pieces": len(chosen)})
    about: dict[str, Any] = storage.read_json(marker)
    return about


def _learn(config: PrepareConfig, parts: Sequence[ReadPart]) -> PreTrainedTokenizerBase:
    total = max(sum(part.size for part in parts), 1)
    sampling = Stage(config.out, "sample", [[-(-LEARN_RECORDS * part.size // total), part.pieces] for part in parts])
    sampling.run(SampleStage(config))
    texts = sorted(text for commit in sampling.commits() for text in commit["texts"])
    if not texts:
        raise UserError(f"no usable row in {', '.join(config.places) or 'the input'}")
    pieces = pieces_of(config.tokenizer or "")
    assert pieces is not None
    log.info("learning a vocabulary of %d pieces from %d texts", pieces, len(texts))
    try:
        return tokenizer.learn(texts, pieces)
    except RuntimeError as error:  # sentencepiece: fewer pieces asked for than there are characters
        raise UserError(f"--tokenizer {config.tokenizer}: {' '.join(str(error).split())}") from None
