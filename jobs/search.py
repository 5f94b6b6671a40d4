"""Ask an index, or a running server: the passages that answer a query, best first."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from hbt_ray.config import SearchConfig, UserError
from hbt_ray.job import main


def run(config: SearchConfig) -> dict[str, Any]:
    """Search, and show each list; of queries from stdin, each answer is a line of JSON on stdout."""
    from hbt_ray.search.ask import asking
    from hbt_ray.search.serving.client import asking_server

    with (asking if config.server is None else asking_server)(config) as answer:
        if config.query is not None:
            result = answer(config.query)
            _show(result)
            return result
        count = 0
        for query in _lines():
            result = answer(query)
            _show(result)
            sys.stdout.write(f"{json.dumps(result, ensure_ascii=False)}\n")
            sys.stdout.flush()
            count += 1
    return {"queries": count}


def _lines() -> Iterator[str]:
    """The lines of stdin that say something."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            query = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise UserError(f"stdin: line {number} is not UTF-8") from None
        if query:
            yield query


def _show(result: dict[str, Any]) -> None:
    from hbt_ray.terminal import console, number, table

    rows = [
        [str(hit["rank"]), number(hit["score"], 4), hit["language"], hit["id"], hit["text"] or "-"]
        for hit in result["hits"]
    ]
    console().print(table(["rank", "score", "language", "id", "text"], rows, result["query"], reads=(2, 3, 4)))


if __name__ == "__main__":
    main(SearchConfig, run, needs_ray=lambda config: config.server is None)
