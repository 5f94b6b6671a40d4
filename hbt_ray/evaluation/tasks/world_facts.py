"""World facts held out for evaluation, the same in every language: `documents.parquet` and `queries.parquet`."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.content import DOCUMENT, QUERY, Asked, Content
from hbt_ray.evaluation.tasks.definition import EVERY, Definition
from hbt_ray.languages import canonical

COLUMNS = {"documents": DOCUMENT, "queries": QUERY}


def read_world_facts(asked: Asked) -> Content:
    """Read the two files; a query's relevant documents are those, in any language, whose id is the query's item.

    Raises:
        UserError: a file or a column is missing, or a query has no relevant document.
    """
    documents, queries = (_read(asked.data, name) for name in COLUMNS)
    relevant: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for item, document in zip(documents["id"].to_pylist(), _unique(documents), strict=True):
        relevant[item][document] = 1
    documents, queries = (table.set_column(0, "id", pa.array(_unique(table))) for table in (documents, queries))
    judgements = {}
    for query, item in zip(queries["id"].to_pylist(), queries["item"].to_pylist(), strict=True):
        if item not in relevant:
            raise UserError(f"{asked.data}: query {query} has no relevant document")
        judgements[query] = relevant[item]
    return Content(queries, documents, judgements)


def _read(data: str, name: str) -> pa.Table:
    uri = storage.join(data, f"{name}.parquet")
    table = storage.read_parquet(uri)
    for column in COLUMNS[name]:
        if column not in table.column_names or table[column].null_count:
            raise UserError(f"{uri} has no column {column}, or a row without it")
    table = table.select(list(COLUMNS[name]))
    for place, column in enumerate(table.column_names):
        if pa.types.is_floating(table[column].type):  # which a missing value makes of whole numbers
            try:
                table = table.set_column(place, column, table[column].cast(pa.int64()))
            except pa.ArrowInvalid:
                raise UserError(f"{uri}: column {column} has fractions, which are no ids") from None
        try:
            text = table[column].cast(pa.string())
            text.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise UserError(f"{uri}: column {column} is {table[column].type}, not strings in UTF-8") from None
        table = table.set_column(place, column, text)
    return table.set_column(1, "lang", pa.array(map(canonical, table["lang"].to_pylist()), pa.string()))


def _unique(table: pa.Table) -> list[str]:
    """The ids as `lang:id`."""
    pairs = zip(table["lang"].to_pylist(), table["id"].to_pylist(), strict=True)
    return [f"{language}:{key}" for language, key in pairs]


WORLD_FACTS = Definition(
    "the folder with documents.parquet and queries.parquet that make demo writes",
    read_world_facts,
    EVERY,
    ("map",),
    published=False,
)
