"""Ids of a task: which are known before anything is encoded, how embeddings have them, and a fingerprint of it all."""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import NamedTuple

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import BM25, EvaluateConfig, UserError
from hbt_ray.encode import corpus as corpora
from hbt_ray.evaluation.tasks.base import CorpusAt, Task
from hbt_ray.languages import canonical

LOG = logging.getLogger(__name__)


class Known(NamedTuple):
    """What is known of ids before anything is encoded.

    Attributes:
        missing: judged documents that are not among the task's.
        identical: queries whose ids are ids of documents, if these are no results of theirs.
    """

    missing: frozenset[str] = frozenset()
    identical: frozenset[str] = frozenset()


def known(task: Task, config: EvaluateConfig) -> Known:
    """Look the judged documents up among the task's, and the queries if their own documents are no results.

    Runs alone are not asked for documents that they lack, and may have any query's own.

    Raises:
        UserError: judged documents are missing, and the rule is to refuse that; or an id fits into no TREC file.
    """
    queries = frozenset(task.queries["id"].to_pylist()) if task.ignore_identical_ids else frozenset()
    if config.run is not None and BM25 not in config.fuse:
        return Known(identical=queries)
    asked = task.judged_documents | queries
    absent: Set[str]
    if isinstance(task.documents, CorpusAt):
        absent = corpora.absent(task.documents.uri, asked, task.documents.language)
    else:
        absent = asked.difference(task.documents["id"].to_pylist())
    identical = queries - absent
    if identical:
        relevant = sum(query in task.relevant[query] for query in identical)
        LOG.warning(
            "%s: %s queries have the id of a document, which is no result of theirs%s;"
            " --identical-ids keep has it as one",
            task.name, f"{len(identical):,}", f", though {relevant:,} were judged relevant" if relevant else "",
        )  # fmt: skip
    missing = task.judged_documents & absent
    if missing and config.missing_documents == "error":
        examples = ", ".join(sorted(missing)[:3])
        raise UserError(
            f"{task.name}: {len(missing):,} of {len(task.judged_documents):,} judged documents are not in the corpus,"
            f" for example {examples}; --missing-documents count takes them as never found"
        )
    return Known(missing, identical)


def write_table(texts: pa.Table, out: str) -> str:
    """Write a task's table as a corpus, whose ids are without language; returns its URI."""
    uri = f"{out}.parquet"
    ids = pa.array([key.partition(":")[2] for key in encoded_ids(texts)], pa.string())
    storage.write_parquet(uri, pa.table({"id": ids, "lang": texts["lang"], "text": texts["text"]}))
    return uri


def encoded_ids(texts: pa.Table) -> list[str]:
    """The ids of a task's table as its embeddings have them: a variety of a language stays in front of the docid."""
    pairs = zip(texts["id"].to_pylist(), texts["lang"].to_pylist(), strict=True)
    return [key if canonical(language) == language else f"{canonical(language)}:{key}" for key, language in pairs]


def fingerprint(task: Task) -> str:
    """A fingerprint of the data that the task was made of."""
    documents = list(task.documents[:2]) if isinstance(task.documents, CorpusAt) else task.documents.to_pydict()
    return storage.fingerprint([task.queries.to_pydict(), documents, {k: dict(v) for k, v in task.judgements.items()}])
