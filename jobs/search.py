"""Ask an index: the passages that answer a query, best first."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import SearchConfig
from hbt_ray.job import main


def run(config: SearchConfig) -> dict[str, Any]:
    """Search, and show the list."""
    from hbt_ray.search.ask import ask
    from hbt_ray.terminal import console, number, table

    result = ask(config)
    rows = [
        [str(hit["rank"]), number(hit["score"], 4), hit["language"], hit["id"], hit["text"] or "-"]
        for hit in result["hits"]
    ]
    console().print(table(["rank", "score", "language", "id", "text"], rows, config.query, reads=(2, 3, 4)))
    return result


if __name__ == "__main__":
    main(SearchConfig, run)
