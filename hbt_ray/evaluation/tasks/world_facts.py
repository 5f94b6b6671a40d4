"""World facts held out for evaluation, the same in every language: `documents.parquet` and `queries.parquet`."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.base import Task

COLUMNS = {"documents": ("id", "lang", "text"), "queries": ("id", "lang", "text", "item")}


def load(data: str, text: str) -> Task:
    """Read the two files; a query's relevant documents are those, in any language, whose id is the query's item.

    Args:
        data: folder of the files, URI.
        text: must be `sentence`; these documents have no context.

    Raises:
        UserError: a file or a column is missing, or `text` asks for contexts.
    """
    if text != "sentence":
        raise UserError(f"--text {text}: world-facts has sentences only")
    documents, queries = (_read(data, name) for name in COLUMNS)
    relevant: defaultdict[str, list[str]] = defaultdict(list)
    for item, document in zip(documents["id"].to_pylist(), _unique(documents), strict=True):
        relevant[item].append(document)
    documents, queries = (table.set_column(0, "id", pa.array(_unique(table))) for table in (documents, queries))
    pairs = zip(queries["id"].to_pylist(), queries["item"].to_pylist(), strict=True)
    return Task("world-facts", queries, documents, {query: tuple(relevant.get(item, ())) for query, item in pairs})


def _read(data: str, name: str) -> pa.Table:
    uri = storage.join(data, f"{name}.parquet")
    table = storage.read_parquet(uri)
    for column in COLUMNS[name]:
        if column not in table.column_names or table[column].null_count:
            raise UserError(f"{uri} has no column {column}, or a row without it")
    return table.select(list(COLUMNS[name]))


def _unique(table: pa.Table) -> list[str]:
    """The ids as `lang:id`."""
    pairs = zip(table["lang"].to_pylist(), table["id"].to_pylist(), strict=True)
    return [f"{language}:{key}" for language, key in pairs]
