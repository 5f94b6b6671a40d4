"""Source files to a stream store: check, tokenise once, shuffle."""

from hbt_ray.config import PrepareConfig
from hbt_ray.data.prepare import prepare
from hbt_ray.job import main

if __name__ == "__main__":
    main(PrepareConfig, prepare)
