"""mMARCO: the queries and passages of MS MARCO in English and 13 machine-translated languages.

Bonifacio et al. 2021, arXiv 2108.13897, `google` translations: each language's queries are searched in its own
passages, and the judgements hold for all languages.
"""

from __future__ import annotations

import re

from hbt_ray import languages, storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.evaluation.tasks.msmarco import HEADLINE
from hbt_ray.storage import trec

QUERIES = re.compile(r"(?:^|/)google/queries/dev/([a-z]+)_queries\.dev\.small\.tsv$")
QRELS = re.compile(r"(?:^|/)qrels\.dev\.small\.tsv$")


def read_mmarco(asked: Asked) -> Content:
    """Read the small dev set: `google/queries/dev/<language's name>_queries.dev.small.tsv` and `qrels.dev.small.tsv`.

    Raises:
        UserError: a file is missing or malformed.
    """
    found = storage.expand(asked.data)
    qrels = next((uri for uri in found if QRELS.search(uri)), None)
    if qrels is None:
        raise UserError(f"{asked.data} has no judgements: no file qrels.dev.small.tsv")
    judgements = list(trec.read_qrels(qrels))
    collected = Collected()
    for uri in found:
        match = QUERIES.search(uri)
        language = languages.named(match[1]) if match else None
        if language is not None:
            for key, text in trec.read_topics(uri):
                collected.query(language, key, text, key)
            for key, document, grade in judgements:
                collected.judge(f"{language}:{key}", f"{language}:{document}", grade)
    assert asked.corpus is not None
    return collected.content(CorpusAt(asked.corpus, asked.language))


MMARCO = Definition(
    "hf://datasets/unicamp-dl/mmarco/data",
    read_mmarco,
    ("monolingual",),
    HEADLINE,
    corpus="hf://datasets/unicamp-dl/mmarco/data/google/collections",
    ignore_identical_ids=True,
)
