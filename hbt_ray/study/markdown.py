"""Tables in Markdown, for a paper or a model card."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, the first of which is the header; the first column reads, the others count."""
    header, *others = (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return "\n".join([header, f"| --- {'| ---: ' * (len(rows[0]) - 1)}|", *others])
