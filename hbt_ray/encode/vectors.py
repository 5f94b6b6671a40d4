"""Token ids to vectors, in batches of texts of like length; smaller batches when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from hbt_ray.model import chunks
from hbt_ray.model.encoder import Encoder, Role
from hbt_ray.model.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)


class TooLong(Exception):
    """A text for which memory does not suffice even alone: `args` are its position and what went wrong."""


class TextBatches:
    """Encodes rows of token ids within a budget, which it halves for good whenever memory runs out.

    Attributes:
        tokens: largest batch of more than one text [tokens, padding included].
    """

    def __init__(self, encoder: Encoder, tokens: int, role: Role) -> None:
        self.tokens = tokens
        self._encoder = encoder
        self._unpooled = encoder.left_out(encoder.prefixes[role])

    def encode(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """The unit vectors, fp32 [rows, width], of rows of token ids, int32 [tokens] each.

        Raises:
            TooLong: a text does not fit into memory.
        """
        lengths = np.array([len(row) for row in rows])
        while True:
            cut = chunks.cut_chunks(lengths, self.tokens)
            done: list[torch.Tensor] = []
            failed = self._try(rows, cut, done)
            if failed is None:
                vectors = np.empty((len(rows), self._encoder.width), dtype=np.float32)
                vectors[np.concatenate(cut)] = torch.cat(done).cpu().numpy()
                return vectors
            del done
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            chunk, reason = failed
            if len(chunk) == 1:
                raise TooLong(int(chunk[0]), reason)
            # not half the budget, which may be far above what there is to encode
            self.tokens = len(chunk) * int(lengths[chunk].max()) // 2
            log.warning("out of memory: the part is encoded again, %s tokens at once", f"{self.tokens:,}")

    def _try(
        self, rows: Sequence[np.ndarray], cut: list[np.ndarray], done: list[torch.Tensor]
    ) -> tuple[np.ndarray, str] | None:
        """Fill `done` with the vectors of each chunk, left on the device; returns the chunk that did not fit, and why.

        What the error holds is free when this returns.
        """
        device = next(self._encoder.parameters()).device
        with torch.inference_mode():
            for chunk in cut:
                try:
                    padded = self._encoder.pad([rows[i] for i in chunk])
                    ids = padded["input_ids"].to(device)
                    unpooled = torch.full((len(ids),), self._unpooled) if self._unpooled else None
                    done.append(self._encoder(ids, padded["attention_mask"], unpooled).float())
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    return chunk, str(error).partition("\n")[0]
        return None


def encode_texts(encoder: Encoder, texts: Sequence[str], role: Role, batch_tokens: int) -> np.ndarray:
    """The texts' unit vectors, fp32 [texts, width]; a batch is of like lengths and at most `batch_tokens` [tokens]."""
    return TextBatches(encoder, batch_tokens, role).encode(encoder.tokenize(texts, role))
