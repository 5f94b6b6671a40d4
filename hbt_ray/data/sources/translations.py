"""Records of sentences that are translations of each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hbt_ray.data import records
from hbt_ray.data.sources import rows
from hbt_ray.data.sources.lines import Row


def sentences(row: Row, texts: Any, source: str, group: Any = None) -> Iterator[dict[str, Any]]:
    """A record of bitext for each language of `texts`, language to text, or one with the row's problem.

    Args:
        group: id of the translation; None: a hash of the texts, which is theirs in every file.
    """
    if row.problem or not isinstance(texts, dict):
        yield rows.bad(row)
        return
    told = {language: text for language, text in sorted(texts.items()) if text is not None}
    if len(told) < 2:
        yield rows.bad(row, records.LONELY)
        return
    key = records.group_of(map(str, told.values())) if group is None else group
    for language, text in told.items():
        yield {
            "row": row.number,
            "source": source,
            "group": key,
            "query_lang": language,
            "passage_lang": language,
            "query": text,
            "passage": text,
            "bitext": True,
        }
