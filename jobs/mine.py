"""Add hard negatives to pairs, from an index of passages."""

from __future__ import annotations

from typing import Any

from hbt_ray.config import MineConfig
from hbt_ray.job import main


def run(config: MineConfig) -> dict[str, Any]:
    """Mine, and show the audit."""
    from rich.table import Table

    from hbt_ray import storage
    from hbt_ray.data.summary import terminal
    from hbt_ray.index.mine import REASONS, mine

    result = mine(config)
    reasons = [f"left out: {reason.replace('_', ' ')}" for reason in REASONS]
    table = Table("query", "passage", "pairs", "negatives of each", "pairs without", *reasons, "mean margin")
    for line in storage.read_json(storage.join(config.out, "audit.json")):
        of_each = line["negatives"] / line["pairs"]
        margin = "-" if line["mean_margin"] is None else f"{line['mean_margin']:.3f}"
        counts = [f"{line[name]:,}" for name in ("without", *REASONS)]
        table.add_row(line["query_lang"], line["passage_lang"], f"{line['pairs']:,}", f"{of_each:.2f}", *counts, margin)
    terminal().print(table)
    return result


if __name__ == "__main__":
    main(MineConfig, run)
