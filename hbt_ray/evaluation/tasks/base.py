"""What every evaluation task is: queries, documents, and which documents are relevant to which query."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from hbt_ray.config import UserError

SPACE = re.compile(r"\s")  # would end a field of a TREC file


@dataclass(frozen=True)
class Task:
    """A retrieval task over several languages; checks itself when it is built.

    Attributes:
        name: as users give it and results bear it.
        queries: id (`lang:questionid`), lang, text, item; translations of a question are one item.
        documents: id (`lang:docid`), lang, text.
        relevant: query id to the ids of its relevant documents, in any language.

    Raises:
        UserError: an id is repeated or has white space, or a query has no relevant document or one that is not there.
    """

    name: str
    queries: pa.Table
    documents: pa.Table
    relevant: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        for kind, table in (("query", self.queries), ("document", self.documents)):
            ids = table["id"].to_pylist()
            if not ids:
                raise UserError(f"{self.name} has no {kind}")
            key, times = Counter(ids).most_common(1)[0]
            if times > 1:
                raise UserError(f"{self.name}: {kind} {key} occurs {times} times")
            for key in ids:
                if SPACE.search(key):
                    raise UserError(f"{self.name}: {kind} id {key!r} has white space, which TREC files cannot hold")
        documents = set(self.documents["id"].to_pylist())
        for query in self.queries["id"].to_pylist():
            relevant = self.relevant.get(query, ())
            if not relevant or not documents.issuperset(relevant):
                raise UserError(f"{self.name}: query {query} has no relevant document among the documents")
