"""What a store holds, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from hbt_ray.data import lengths
from hbt_ray.data.streams import StreamStore
from hbt_ray.terminal import console, table


def show_store(store: StreamStore) -> None:
    """Print languages, sources and quarantine of a store to stderr; mean and 95th percentile are of lengths."""
    counts = store.counts
    rows = []
    for language, found in counts["by_language"].items():
        row = [language]
        for side, plural in enumerate(("queries", "passages")):
            tokens = found["query_tokens" if side == 0 else "passage_tokens"]
            histogram: Sequence[int] = ()
            for stream in store.streams:
                if stream.languages[side] == language:
                    histogram = lengths.add(histogram, stream.lengths[side])
            mean = tokens / max(found[plural], 1)
            row += [f"{found[plural]:,}", f"{tokens:,}", f"{mean:.1f} / {lengths.percentile(histogram, 95)}"]
        rows.append(row)
    screen = console()
    sides = [name for side in ("queries", "passages") for name in (side, "tokens", "mean / p95")]
    screen.print(table(["language", *sides], rows))
    screen.print(table(["source", "rows"], [[name, f"{count:,}"] for name, count in counts["by_source"].items()]))
    if counts["duplicates"]:
        screen.print(f"{counts['duplicates']:,} rows say the same as another of their group")
    if counts.get("excluded"):
        tasks = [[task, f"{count:,}"] for task, count in counts["excluded"].items()]
        screen.print(table(["left out as test items of", "rows"], tasks))
    if counts["quarantined"]:
        reasons = [[reason, f"{count:,}"] for reason, count in counts["quarantined"].items()]
        screen.print(table(["quarantined because", "rows"], reasons))
