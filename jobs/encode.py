"""Encode a corpus into a collection, each text exactly once."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import EncodeConfig
from hbt_ray.job import main


def run(config: EncodeConfig) -> dict[str, Any]:
    """Encode."""
    from hbt_ray.encode.encode import encode_corpus

    return encode_corpus(config)


if __name__ == "__main__":
    main(EncodeConfig, run)
