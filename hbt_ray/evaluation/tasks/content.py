"""What a reader finds: queries, documents and judgements, with ids as `lang:id` everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.languages import canonical
from hbt_ray.storage.text_files import is_encodable

Row = TypeVar("Row", bound=tuple[str, ...])
QUERY = ("id", "lang", "text", "item")
DOCUMENT = ("id", "lang", "text")


class Asked(NamedTuple):
    """What the user wants read.

    Attributes:
        data: the task's files [URI].
        corpus: the task's documents, where they are apart [URI].
        language: language of files that do not tell it.
        text: what a candidate's text is, `sentence` or `sentence+context`.
    """

    data: str
    corpus: str | None
    language: str | None
    text: str


class Content(NamedTuple):
    """Queries, documents, judgements and answers as `Task` has them."""

    queries: pa.Table
    documents: pa.Table | CorpusAt
    judgements: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType({})


class Collected:
    """Gathers a task's content row by row; languages may have any spelling and get that of `languages.normalize`."""

    def __init__(self, varieties: bool = False) -> None:
        """Start with nothing.

        Args:
            varieties: keep tags as they are, for a task that asks the same in two varieties of a language.
        """
        self._tag: Callable[[str], str] = str if varieties else canonical
        self._queries: list[tuple[str, str, str, str]] = []
        self._documents: list[tuple[str, str, str]] = []
        self.judgements: dict[str, dict[str, int]] = {}
        self.answers: dict[str, dict[str, tuple[str, ...]]] = {}

    def query(self, language: str, key: str, text: str, item: str) -> str:
        """Add a query; returns its id.

        Raises:
            UserError: it holds half a surrogate pair.
        """
        language = self._tag(language)
        self._queries.append(_whole("query", (f"{language}:{key}", language, text, item)))
        return self._queries[-1][0]

    def document(self, language: str, key: str, text: str) -> str:
        """Add a document; returns its id.

        Raises:
            UserError: it holds half a surrogate pair.
        """
        language = self._tag(language)
        self._documents.append(_whole("document", (f"{language}:{key}", language, text)))
        return self._documents[-1][0]

    def judge(self, query: str, document: str, grade: int = 1) -> None:
        """Add a judgement of ids that begin with a language in any spelling; of two different ones the higher."""
        query, document = (f"{self._tag(tag)}:{key}" for tag, _, key in (query.partition(":"), document.partition(":")))
        grades = self.judgements.setdefault(query, {})
        grades[document] = max(grade, grades.get(document, grade))

    def answer(self, item: str, language: str, texts: Iterable[str]) -> None:
        """Add answers to the questions of an item, as passages in the language have them; empty ones are none."""
        texts = [text for text in texts if text]
        if texts:
            language = self._tag(language)
            known = self.answers.setdefault(item, {})
            known[language] = tuple(dict.fromkeys([*known.get(language, ()), *texts]))

    def judge_items(self, of_item: Mapping[str, dict[str, int]]) -> None:
        """Judge every query by what is known of its item."""
        for key, _, _, item in self._queries:
            if item in of_item:
                self.judgements[key] = of_item[item]  # one for all: there may be many languages

    def content(self, documents: CorpusAt | None = None) -> Content:
        """All that has been added.

        Args:
            documents: where the documents are, when none have been added.
        """
        there = documents or _table(DOCUMENT, self._documents)
        return Content(_table(QUERY, self._queries), there, self.judgements, self.answers)


def _whole(kind: str, row: Row) -> Row:
    for value in row:
        if not is_encodable(value):
            raise UserError(f"{kind} {row[0]!r} is not UTF-8: half a surrogate pair is no character")
    return row


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> pa.Table:
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(columns, values, strict=True)})
