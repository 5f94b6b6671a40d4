"""MIRACL and Mr. TyDi: which passages of its language's Wikipedia answer a question.

- MIRACL (Zhang et al. 2023, TACL; arXiv 2210.09984): dev, 18 languages, 13,495 questions, 106 million passages,
  nDCG@10 and Recall@100. Judgements of grade 0 are of passages that were read and found not relevant. Docids are
  those of a language's own Wikipedia, so a pool of several languages, which may be asked for, holds them as
  `lang:docid`; only passages in the question's language have been judged, others count as not relevant there.
- Mr. TyDi (Zhang et al. 2021, arXiv 2108.08787): test, 11 languages, MRR@100 and Recall@100.

A corpus of hard negatives is just another `--corpus`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hbt_ray import languages, storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.storage import text_files, trec


def wikipedia_reader(name: str, split: str) -> Callable[[Asked], Content]:
    """A reader of `topics.<name>-v<version>-<language>` and `qrels.…` files of one split, wherever in the folder.

    Mr. TyDi's own form on the hub is read too: `mrtydi-v1.1-<name of language>/<split>.jsonl.gz`, whose lines hold
    `query_id`, `query` and `positive_passages` with a `docid` each.

    Raises, when it reads:
        UserError: no file is there, or one is malformed.
    """
    stem = rf"{name}-v[0-9.]+-([a-z]+)[-.]{split}\.(?:tsv|txt)(?:\.gz)?$"
    kinds = {"topics": re.compile(rf"topics\.{stem}"), "qrels": re.compile(rf"qrels\.{stem}")}
    on_hub = re.compile(rf"{name}-v[0-9.]+-([a-z]+)/{split}\.jsonl(?:\.gz)?$")

    def read(asked: Asked) -> Content:
        found: dict[str, dict[str, str]] = {"topics": {}, "qrels": {}}
        collected = Collected()
        for uri in storage.expand(asked.data):
            for kind, pattern in kinds.items():
                if match := pattern.search(uri):
                    found[kind][match[1]] = uri
            match = on_hub.search(uri)
            language = languages.named(match[1]) if match else None
            if language is not None:
                _read_lines(uri, language, collected)
        for language, uri in found["topics"].items():
            if language not in found["qrels"]:
                raise UserError(f"{asked.data} has topics and no judgements of {language}: no qrels beside {uri}")
            for key, text in trec.read_topics(uri):
                collected.query(language, key, text, f"{language}:{key}")
            for key, document, grade in trec.read_qrels(found["qrels"][language]):
                collected.judge(f"{language}:{key}", f"{language}:{document}", grade)
        assert asked.corpus is not None
        return collected.content(CorpusAt(asked.corpus, asked.language))

    return read


def _read_lines(uri: str, language: str, collected: Collected) -> None:
    for number, line in text_files.json_lines(uri):
        try:
            assert line is not None
            query = collected.query(
                language, str(line["query_id"]), str(line["query"]), f"{language}:{line['query_id']}"
            )
            for passage in line["positive_passages"]:
                collected.judge(query, f"{language}:{passage['docid']}")
        except (AssertionError, KeyError, TypeError):
            raise UserError(f"{uri} line {number + 1}: no query_id, query and positive_passages with docid") from None


MIRACL = Definition(
    "hf://datasets/miracl/miracl",
    wikipedia_reader("miracl", "dev"),
    ("monolingual",),
    ("ndcg@10", "recall@100"),
    corpus="hf://datasets/miracl/miracl-corpus",
    revision="5be20db9509754dadad47689368639fcec739c00",
    corpus_revision="d921ec7e349ce0d28daf30b2da9da5ee698bef0d",
)
MRTYDI = Definition(
    "hf://datasets/castorini/mr-tydi",
    wikipedia_reader("mrtydi", "test"),
    ("monolingual",),
    ("mrr@100", "recall@100"),
    corpus="hf://datasets/castorini/mr-tydi-corpus",
    revision="1d43c80218d06d0ef80f5b172ccabd848b948bc1",
    corpus_revision="3a3aa212bbe94a8cc0dc858710a3dad49d532054",
)
