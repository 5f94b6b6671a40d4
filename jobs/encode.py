"""Encode a corpus to embedding parts, each text exactly once."""

from __future__ import annotations

from hbt_ray.config import EncodeConfig
from hbt_ray.encode.encode import encode
from hbt_ray.job import main

if __name__ == "__main__":
    main(EncodeConfig, encode)
