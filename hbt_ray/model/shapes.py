"""The dimensions of encoders with random weights, known without torch."""

from __future__ import annotations

from typing import NamedTuple

TOKEN_LIMIT = 512  # longest text when neither the user nor the model names a limit


class Shape(NamedTuple):
    """The dimensions of an XLM-R-shaped encoder."""

    layers: int
    width: int
    heads: int
    feed_forward: int

    def parameters(self, vocabulary: int) -> int:
        """The number of parameters with a vocabulary of so many pieces: embeddings, layers and pooler (XLM-R's)."""
        width, inner = self.width, self.feed_forward
        embeddings = (vocabulary + TOKEN_LIMIT + 2 + 1) * width + 2 * width  # pieces, places, one type; norm
        layer = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
        return embeddings + self.layers * layer + (width + 1) * width


SIZES = {
    "nano": Shape(1, 64, 2, 128),  # learns a small corpus in a minute of two CPU cores
    "tiny": Shape(2, 128, 2, 512),
    "mini": Shape(4, 256, 4, 1024),
    "small": Shape(12, 384, 12, 1536),  # multilingual-e5-small
    "base": Shape(12, 768, 12, 3072),  # XLM-R base
    "large": Shape(24, 1024, 16, 4096),  # XLM-R large
}
