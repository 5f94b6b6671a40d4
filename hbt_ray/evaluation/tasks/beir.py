"""Any folder in BEIR's layout as `beir:URI`, in one language (`--language`, English unless given).

Thakur et al. 2021, arXiv 2104.08663: nDCG@10 and Recall@100 over the whole corpus; split `test`, or else `dev`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.languages import canonical
from hbt_ray.storage import text_files, trec

SPLITS = ("test", "dev", "validation")  # the first that is there


def read_beir(asked: Asked, splits: tuple[str, ...] = SPLITS) -> Content:
    """Read a folder whose texts are all of one language, the user's or English. Only queries of the split are taken.

    Args:
        splits: names of splits, of which the first that the folder has judgements of is read.

    Raises:
        UserError: a file is missing or malformed, or a judged query has no text.
    """
    language = canonical(asked.language or "en")
    collected = Collected()
    for query, document, grade in _judgements(asked.data, splits):
        collected.judge(f"{language}:{query}", f"{language}:{document}", grade)
    uri = _one(asked.data, "queries", (".jsonl", ".jsonl.gz", ".jsonl.xz"))
    for number, line in text_files.json_lines(uri):
        if line is None or not isinstance(line.get("_id"), str) or not isinstance(line.get("text"), str | None):
            raise UserError(f"{uri} line {number + 1} is no query: it needs _id and text")
        if line.get("text") is None:  # none, and a judgement of it counts as one of a missing query
            continue
        if not text_files.is_encodable(line["text"]):
            raise UserError(f"{uri} line {number + 1} is not UTF-8: half a surrogate pair is no character")
        if f"{language}:{line['_id']}" in collected.judgements:
            collected.query(language, line["_id"], line["text"], line["_id"])
    corpus = asked.corpus or _one(asked.data, "corpus", (".jsonl", ".jsonl.gz", ".jsonl.xz"))
    return collected.content(CorpusAt(corpus, language))


def _judgements(folder: str, splits: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    for split in splits:
        found = re.compile(rf"(^|/)qrels/{split}\.(tsv|jsonl)$")
        for uri in storage.expand(folder):
            if found.search(uri):
                return trec.read_judgements(uri)
    raise UserError(f"{folder} has no judgements: no file qrels/{splits[0]}.tsv")


def _one(folder: str, name: str, suffixes: tuple[str, ...]) -> str:
    for suffix in suffixes:
        uri = storage.join(folder, name + suffix)
        if storage.exists(uri):
            return uri
    raise UserError(f"{folder} has no file {name}{suffixes[0]}")


BEIR = Definition(
    "a folder in BEIR's layout",
    read_beir,
    ("monolingual",),
    ("ndcg@10", "recall@100"),
    published=False,
    ignore_identical_ids=True,
)
