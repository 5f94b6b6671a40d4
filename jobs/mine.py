"""Add hard negatives to pairs, from an index of passages."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import MineConfig
from hbt_ray.job import main


def run(config: MineConfig) -> dict[str, Any]:
    """Mine, and show the audit."""
    from hbt_ray import storage
    from hbt_ray.search.mine import REASONS, mine, said
    from hbt_ray.terminal import console, number, table

    result = mine(config)
    columns = ["query", "passage", "pairs", "negatives of each", "pairs without", "mean margin"]
    rows = [
        [
            line["query_lang"],
            line["passage_lang"],
            number(line["pairs"], 0),
            number(line["negatives"] / line["pairs"], 2),
            number(line["without"], 0),
            number(line["mean_margin"], 3),
            *(number(line[reason], 0) for reason in REASONS),
        ]
        for line in storage.read_json(storage.join(config.out, "audit.json"))
    ]
    columns += [f"left out: {reason.replace('_', ' ')}" for reason in REASONS]
    console().print(table(columns, rows, reads=(1,)))
    if result["without"]:
        console().print(said(result, config), highlight=False, markup=False)
    return result


if __name__ == "__main__":
    main(MineConfig, run)
