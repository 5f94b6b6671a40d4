"""NeuCLIRBench: English queries against one pool of Chinese, Persian and Russian news.

Lawrie et al. 2025; TREC NeuCLIR 2022-2024. `neuclir/bench` on the hub has queries and graded judgements, the documents
are `neuclir/neuclir1`, about 10 million. nDCG@20 over the pool, with the share of each language in the top of the
lists; the cross-language task, in one language's documents at a time, may be asked for: `--settings cross-lingual`.
"""

from __future__ import annotations

from hbt_ray import languages, storage
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.storage import trec

CODES = ("fas", "rus", "zho")


def read_neuclir(asked: Asked) -> Content:
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
    return collected.content(CorpusAt(asked.corpus, asked.language))


NEUCLIR = Definition(
    "hf://datasets/neuclir/bench/data",
    read_neuclir,
    ("multilingual",),
    ("ndcg@20", "recall@100"),
    corpus="hf://datasets/neuclir/neuclir1/data/???-0*.jsonl.gz",
)
