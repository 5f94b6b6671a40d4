"""A TREC run file in the place of an index: the lists that some system made, to be measured like our own."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from hbt_ray.config import UserError
from hbt_ray.evaluation.listed import language_of, places
from hbt_ray.languages import canonical_id
from hbt_ray.search.ranking import Above, Hits
from hbt_ray.storage import text_files


class RunRanker:
    """The lists of `query Q0 document rank score tag` lines, ids as in a task (`lang:docid`).

    Scores are taken as fp32 and order the documents, of equal ones the higher id first, as in trec_eval; the column of
    ranks is not looked at. A relevant document that is not in a list was never found.

    Attributes:
        languages: languages of the documents.
    """

    def __init__(self, uri: str, queries: Collection[str] = ()) -> None:
        """Read the file, in whose ids a language may have any spelling.

        Args:
            queries: ids that are queries as they are.

        Raises:
            UserError: the file is missing, or a line is no run's, has a document that its query has already, or a score
                that is no finite number.
        """
        found: defaultdict[str, dict[str, np.float32]] = defaultdict(dict)
        for number, line in enumerate(text_files.read_lines(uri), start=1):
            query, document, score = _parse(line, f"{uri} line {number}")
            query, document = query if query in queries else canonical_id(query), canonical_id(document)
            if document in found[query]:
                raise UserError(f"{uri} line {number}: document {document} occurs twice for query {query}")
            found[query][document] = score
        self._lists = {
            query: sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)
            for query, scores in found.items()
        }
        self.languages = tuple(sorted({language_of(key) for scores in found.values() for key in scores}, reverse=True))

    @property
    def own(self) -> frozenset[str]:
        """The ids of the queries that are documents in their own lists."""
        return frozenset(query for query, pairs in self._lists.items() if any(key == query for key, _ in pairs))

    @property
    def queries(self) -> frozenset[str]:
        """The ids of the queries that have a list."""
        return frozenset(self._lists)

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """The first k documents of each language, as `Searcher.search_languages` gives them.

        Args:
            queries: ids of the queries, str [queries].
        """
        lists = [self._lists.get(query, []) for query in queries]
        return {
            language: _hits([[pair for pair in pairs if language_of(pair[0]) == language][:k] for pairs in lists])
            for language in languages or self.languages
        }

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """The places of those relevant documents that are in their query's list, as `Searcher.ranks` gives them.

        Documents of all languages are counted.

        Args:
            queries: ids of the queries, str [queries].
        """
        return places(([key for key, _ in self._lists.get(query, [])] for query in queries), relevant, self.languages)


def _parse(line: bytes, where: str) -> tuple[str, str, np.float32]:
    try:
        query, _, document, _, number, _ = line.decode("utf-8").split()
    except ValueError:
        raise UserError(f"{where} is not of a run: query, Q0, document, rank, score, tag") from None
    try:
        score = float(number)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(f"{where}: the score is {number}, not a finite number")
    return query, document, np.float32(score)


def _hits(lists: Sequence[Sequence[tuple[str, np.float32]]]) -> Hits:
    width = max(map(len, lists), default=0)
    ids = np.full((len(lists), width), "", dtype=object)
    scores = np.full((len(lists), width), -np.inf, dtype=np.float32)
    for row, pairs in enumerate(lists):
        for place, (key, score) in enumerate(pairs):
            ids[row, place], scores[row, place] = key, score
    return Hits(ids, scores)
