"""NeuCLIRBench's files: English queries as TSV, and graded judgements of each language's documents."""

from __future__ import annotations

from hbt_ray import storage
from hbt_ray.data import languages
from hbt_ray.evaluation.readers import trec
from hbt_ray.evaluation.readers.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.base import Corpus

CODES = ("fas", "rus", "zho")


def read(asked: Asked) -> Content:
    """Read `news.eng.tsv`, and `qrels.<code>.gains.txt`, which tell a document's language, of the topics in
    `qrels.mlir.gains.txt`, whose documents were judged in all three.

    Raises:
        UserError: a file is missing or malformed.
    """
    topics = {topic for topic, _, _ in trec.read_qrels(storage.join(asked.data, "qrels.mlir.gains.txt"))}
    collected = Collected()
    for key, text in trec.read_topics(storage.join(asked.data, "news.eng.tsv")):
        if key in topics:
            collected.query("en", key, text, key)
    for code in CODES:
        for topic, document, grade in trec.read_qrels(storage.join(asked.data, f"qrels.{code}.gains.txt")):
            if topic in topics:
                collected.judge(f"en:{topic}", f"{languages.normalize(code)}:{document}", grade)
    assert asked.corpus is not None
    return collected.content(Corpus(asked.corpus, asked.language))
