"""What a store holds, as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from hbt_ray.data import lengths
from hbt_ray.data.streams import StreamStore


def show(store: StreamStore) -> None:
    """Print languages, sources and quarantine of a store to stderr; mean and 95th percentile are of lengths."""
    counts = store.manifest["counts"]
    rows = []
    for language, found in counts["by_language"].items():
        row = [language]
        for side, plural in enumerate(("queries", "passages")):
            tokens = found["query_tokens" if side == 0 else "passage_tokens"]
            histogram: Sequence[int] = ()
            for stream in store.streams:
                if language in stream.lengths:
                    histogram = lengths.add(histogram, stream.lengths[language][side])
            mean = tokens / max(found[plural], 1)
            row += [f"{found[plural]:,}", f"{tokens:,}", f"{mean:.1f} / {lengths.percentile(histogram, 95)}"]
        rows.append(row)
    screen = console()
    sides = [name for side in ("queries", "passages") for name in (side, "tokens", "mean / p95")]
    screen.print(table(["language", *sides], rows))
    screen.print(table(["source", "rows"], [[name, f"{count:,}"] for name, count in counts["by_source"].items()]))
    if counts["quarantined"]:
        reasons = [[reason, f"{count:,}"] for reason, count in counts["quarantined"].items()]
        screen.print(table(["quarantined because", "rows"], reasons))


def console() -> Console:
    """Stderr, wide enough for tables where it is a file."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else 160)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Rows of text under their column names; the first column reads, the others count."""
    shown = Table()
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*row)
    return shown
