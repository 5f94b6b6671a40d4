"""Source files to a stream store: check, tokenise once, shuffle."""

from __future__ import annotations

import hbt_ray
from hbt_ray.config import PrepareConfig
from hbt_ray.job import main

if __name__ == "__main__":
    main(PrepareConfig, lambda config: hbt_ray.prepare(config))
