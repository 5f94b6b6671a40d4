"""Encode a corpus to embedding parts, each text exactly once."""

from __future__ import annotations

import hbt_ray
from hbt_ray.config import EncodeConfig
from hbt_ray.job import main

if __name__ == "__main__":
    main(EncodeConfig, lambda config: hbt_ray.encode(config))
