"""Ask an index: the passages that answer a query, best first."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from hbt_ray.config import SearchConfig
from hbt_ray.job import main
from hbt_ray.search.ask import ask
from hbt_ray.terminal import console


def run(config: SearchConfig) -> dict[str, Any]:
    """Search, and show the list."""
    result = ask(config)
    table = Table("rank", "score", "language", "id", "text", title=config.query)
    for hit in result["hits"]:
        table.add_row(str(hit["rank"]), f"{hit['score']:.4f}", hit["language"], hit["id"], hit["text"] or "-")
    console().print(table)
    return result


if __name__ == "__main__":
    main(SearchConfig, run)
