"""BM25, the baseline that knows words and no languages: it stands in the place of a model and its index."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import NamedTuple

import bm25s
import numpy as np
import pyarrow as pa
from scipy.sparse import csc_matrix, csr_matrix

from hbt_ray.arrays import blocks
from hbt_ray.encode import corpus as corpora
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.evaluation.words import PAIRED, words
from hbt_ray.search.found import highest
from hbt_ray.search.ranking import Above, Hits

K1, B = 0.9, 0.4  # Anserini's, with which the BM25 baselines of Mr. TyDi and MIRACL were made
FINGERPRINT = {"bm25s": version("bm25s"), "k1": K1, "b": B, "words": PAIRED}
NUMBERS = 4_000_000  # scores held at once
PART = 65536  # documents read at once

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to say everything


class Collection(NamedTuple):
    """Documents as words.

    Attributes:
        ids: `lang:docid`, descending, so that among equal scores a lower position ranks higher, str [documents].
        tokens: for each document, the numbers of its words.
        vocabulary: word to number, in the order of words, so that sums have one order in every process.
        duplicates: number of documents that were left out, since their ids come again.
    """

    ids: np.ndarray
    tokens: list[list[int]]
    vocabulary: dict[str, int]
    duplicates: int = 0


def collect(documents: pa.Table | CorpusAt) -> Collection:
    """Tokenise all documents, which are then held in memory.

    Raises:
        UserError: the corpus is not usable.
    """
    if isinstance(documents, CorpusAt):
        corpus = corpora.scan_corpus(documents.uri, PART, documents.language, documents.duplicates)
        duplicates, groups = corpus.duplicates, corpora.groups(corpus.parts)
        parts = [part for group in groups for part in corpora.read_texts(group)]
        pairs = [pair for part in parts for pair in zip(part.ids, map(words, part.texts), strict=True)]
    else:
        texts = map(words, documents["text"].to_pylist())
        pairs = list(zip(documents["id"].to_pylist(), texts, strict=True))
        duplicates = 0  # those of a table have been left out
    pairs.sort(reverse=True)
    vocabulary = {word: i for i, word in enumerate(sorted({word for _, text in pairs for word in text}))}
    tokens = [[vocabulary[word] for word in text] for _, text in pairs]
    return Collection(np.array([key for key, _ in pairs], dtype=object), tokens, vocabulary, duplicates)


class Bm25:
    """Ranks in the place of an index; its queries are texts, str [queries].

    The weights are Lucene's (Kamphuis et al. 2020, 10.1007/978-3-030-45442-5_4); a score is their sum over the words of
    the query, in fp64, rounded to fp32. Documents that share no word with a query all score 0 and rank, as all ties do,
    by descending id.

    Attributes:
        languages: languages of the documents, in the order in which equal scores rank (descending ids).
    """

    def __init__(self, collection: Collection, pooled: bool) -> None:
        """Index the documents.

        Args:
            pooled: whether frequencies of words and the mean length are those of all documents, as one BM25 index of
                the pool of all languages has them; or in each language its own, as an index of that language.
        """
        ids, tokens, self._vocabulary = collection[:3]
        spoken = np.array([key.partition(":")[0] for key in ids], dtype=object)
        self.languages = tuple(dict.fromkeys(spoken))
        rows = {language: np.flatnonzero(spoken == language) for language in self.languages}
        if pooled:
            weights = self._weights(tokens)
            self._columns = {language: weights[:, rows[language]] for language in self.languages}
        else:
            self._columns = {name: self._weights([tokens[row] for row in rows[name]]) for name in self.languages}
        self._ids = {language: ids[rows[language]] for language in self.languages}

    def search_languages(self, queries: np.ndarray, k: int, languages: Sequence[str] | None = None) -> dict[str, Hits]:
        """The min(k, documents) best documents of each of these languages, all when None, for str [queries]."""
        lists: dict[str, list[Hits]] = {language: [] for language in languages or self.languages}
        for block in self._blocks(queries):
            counts = self._counts(queries[block])
            for language in lists:
                ids = self._ids[language]
                places, scores = highest(self._scores(counts, language), np.arange(len(ids)), k)
                lists[language].append(Hits(ids[places], scores))
        return {language: Hits(*map(np.concatenate, zip(*found, strict=True))) for language, found in lists.items()}

    def ranks(
        self, queries: np.ndarray, relevant: Sequence[Sequence[str]], languages: Sequence[str] | None = None
    ) -> Above:
        """Count, for each relevant document of each query, the documents of every language that rank above it.

        Args:
            queries: str [queries].
            relevant: document ids of each query, in `languages`.
            languages: languages whose documents are counted; all when None.
        """
        chosen = [self.languages.index(language) for language in languages or self.languages]
        sizes = np.array([len(ids) for ids in relevant], dtype=np.int64)
        owners = np.repeat(np.arange(len(queries)), sizes)
        documents = np.array([key for ids in relevant for key in ids], dtype=object)
        at = {key: (i, row) for i, name in enumerate(self.languages) for row, key in enumerate(self._ids[name])}
        own, places = np.array([at[key] for key in documents], dtype=np.int64).reshape(-1, 2).T
        counts = np.zeros((len(documents), len(self.languages)), dtype=np.int64)
        for block in self._blocks(queries):
            pairs = np.flatnonzero((owners >= block.start) & (owners < block.stop))
            asked = self._counts(queries[block])
            matrices = {i: self._scores(asked, self.languages[i]) for i in chosen}
            rows = owners[pairs] - block.start
            own_scores = np.empty((len(pairs), 1), dtype=np.float32)
            for i, matrix in matrices.items():
                here = own[pairs] == i
                own_scores[here, 0] = matrix[rows[here], places[pairs[here]]]
            for i, matrix in matrices.items():
                # in a tie, all ids of an earlier language are higher, and in the own language those before
                first_not_higher = np.select([own[pairs] > i, own[pairs] == i], [matrix.shape[1], places[pairs]], 0)
                ties = (matrix[rows] == own_scores) & (np.arange(matrix.shape[1]) < first_not_higher[:, None])
                counts[pairs, i] = ((matrix[rows] > own_scores) | ties).sum(axis=1)
        return Above(owners, documents, own, counts)

    def _blocks(self, queries: np.ndarray) -> Iterator[slice]:
        return blocks(len(queries), max(1, NUMBERS // sum(map(len, self._ids.values()))))

    def _weights(self, tokens: list[list[int]]) -> csr_matrix:
        """What each word adds to the score of each document, float64 [words, documents]."""
        index = bm25s.BM25(k1=K1, b=B, method="lucene", dtype="float64")
        index.index((tokens, self._vocabulary), create_empty_token=False, show_progress=False)
        columns = index.scores["data"], index.scores["indices"], index.scores["indptr"]
        return csc_matrix(columns, shape=(len(tokens), len(self._vocabulary))).T

    def _counts(self, queries: Iterable[str]) -> csr_matrix:
        """1 for each known word of each query, as often as it is there, float64 [queries, words]."""
        known = self._vocabulary
        columns = [sorted(known[word] for word in words(text) if word in known) for text in queries]
        offsets = np.cumsum([0, *map(len, columns)])
        numbers = np.array([word for query in columns for word in query], dtype=np.int64)
        return csr_matrix((np.ones(len(numbers)), numbers, offsets), shape=(len(columns), len(known)))

    def _scores(self, counts: csr_matrix, language: str) -> np.ndarray:
        """The scores, fp32 [queries, documents of the language]."""
        scores: np.ndarray = (counts @ self._columns[language]).toarray().astype(np.float32)
        return scores
