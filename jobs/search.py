"""Ask an index: the passages that answer a query, best first."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import SearchConfig
from hbt_ray.job import main


def run(config: SearchConfig) -> dict[str, Any]:
    """Search, and show the list."""
    from rich.table import Table

    from hbt_ray.data.summary import terminal
    from hbt_ray.index.ask import ask

    result = ask(config)
    table = Table("rank", "score", "language", "id", "text", title=config.query)
    for hit in result["hits"]:
        table.add_row(str(hit["rank"]), f"{hit['score']:.4f}", hit["language"], hit["id"], hit["text"] or "-")
    terminal().print(table)
    return result


if __name__ == "__main__":
    main(SearchConfig, run)
