"""What every evaluation task is: queries, documents, and which documents are relevant to which query."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from hbt_ray.config import Duplicates, Setting, UserError

SPACE = re.compile(r"[\s\0\ud800-\udfff]")  # would end a field of a TREC file, or the string, or is no character

UNHELD = "white space, NUL or half a surrogate pair, which TREC files cannot hold"


class CorpusAt(NamedTuple):
    """Documents that stay where they are, in a format of `encode/corpus.py`; never held in memory as a whole.

    Attributes:
        uri: file, folder or glob [URI].
        language: language of files that do not tell it.
        duplicates: what is done about ids that it has twice, as `scan_corpus` has it.
    """

    uri: str
    language: str | None = None
    duplicates: Duplicates = "error"


@dataclass(frozen=True)
class Task:
    """A retrieval task over one or several languages; checks itself when it is built.

    Attributes:
        name: name as users give it and results bear it.
        queries: id (`lang:questionid`), lang, text, item; translations of a question are one item.
        documents: a table of id (`lang:docid`), lang, text; or the corpus that holds them.
        judgements: query id to document id to grade: 1 or more is relevant, 0 was judged and is not.
        settings: settings that are evaluated unless the user asks for others.
        headline: the measures that are quoted of the task, by our names.
        answers: item to a language to the strings that answer it there. Without any judgement, judgements are made of
            them after the search (`answers.py`); with them, it is measured whether the first document has one
            (`first_document.py`).
        ignore_identical_ids: whether a document with the id of the query is no result of it, as BEIR's evaluator
            has it and MTEB calls it: there it is the query itself. It stays relevant if it was judged so.
        places: where it was read [URIs], with the revision of what is on a hub.
        left_out: numbers of what was left out: `missing_queries` and `duplicate_documents` of a table.

    Raises:
        UserError: an id is repeated or has what a TREC file cannot hold, a judgement is of no query, or nothing has a
            judgement.
    """

    name: str
    queries: pa.Table
    documents: pa.Table | CorpusAt
    judgements: Mapping[str, Mapping[str, int]]
    settings: tuple[Setting, ...]
    headline: tuple[str, ...]
    answers: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    ignore_identical_ids: bool = False
    places: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_ids("query", self.queries)
        if isinstance(self.documents, pa.Table):
            self._check_ids("document", self.documents)
        self._check_fields("judged document", self.judged_documents)
        strange = self.judgements.keys() - set(self.queries["id"].to_pylist())
        if strange:
            raise UserError(
                f"{self.name}: {len(strange):,} queries have judgements and no text, for example {min(strange)};"
                " --missing-queries skip leaves them out"
            )
        if not self.judged and not self.answers:
            raise UserError(f"{self.name} has no judgements")

    @property
    def judged(self) -> bool:
        """Whether there are judgements before the search."""
        return any(self.judgements.values())

    @cached_property
    def relevant(self) -> dict[str, tuple[str, ...]]:
        """The ids of each query's relevant documents, by query id; every query has an entry."""
        return {
            query: tuple(key for key, grade in self.judgements.get(query, {}).items() if grade >= 1)
            for query in self.queries["id"].to_pylist()
        }

    @cached_property
    def judged_documents(self) -> frozenset[str]:
        """Every document that some query has a judgement of."""
        return frozenset(document for grades in self.judgements.values() for document in grades)

    def _check_ids(self, kind: str, table: pa.Table) -> None:
        ids = table["id"].to_pylist()
        if not ids:
            raise UserError(f"{self.name} has no {kind}")
        key, times = Counter(ids).most_common(1)[0]
        if times > 1:
            hint = "; --duplicates last takes the last" if kind == "document" else ""
            raise UserError(f"{self.name}: {kind} {key} occurs {times} times{hint}")
        self._check_fields(kind, ids)

    def _check_fields(self, kind: str, ids: Iterable[str]) -> None:
        for key in ids:
            if SPACE.search(key):
                raise UserError(f"{self.name}: {kind} id {key!r} has {UNHELD}")
