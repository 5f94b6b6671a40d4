"""Topics and judgements of MIRACL and Mr. TyDi: files a language, as on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data import languages
from hbt_ray.data.sources import files
from hbt_ray.evaluation.readers import trec
from hbt_ray.evaluation.readers.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.base import Corpus


def reader(name: str, split: str) -> Callable[[Asked], Content]:
    """A reader of `topics.<name>-v<version>-<language>` and `qrels.…` files of one split, wherever in the folder.

    Mr. TyDi's own form on the hub is read too: `mrtydi-v1.1-<name of language>/<split>.jsonl.gz`, whose lines hold
    `query_id`, `query` and `positive_passages` with a `docid` each.
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
        return collected.content(Corpus(asked.corpus, asked.language))

    return read


def _read_lines(uri: str, language: str, collected: Collected) -> None:
    for number, line in files.read_lines(uri):
        try:
            assert line is not None
            query = collected.query(
                language, str(line["query_id"]), str(line["query"]), f"{language}:{line['query_id']}"
            )
            for passage in line["positive_passages"]:
                collected.judge(query, f"{language}:{passage['docid']}")
        except (AssertionError, KeyError, TypeError):
            raise UserError(f"{uri} line {number + 1}: no query_id, query and positive_passages with docid") from None
