"""Belebele: 900 questions on 488 passages in each of 122 language varieties, translations of each other.

Bandarkar et al. 2024, arXiv 2308.16884; nDCG@10 within each variety and between every two. All 14,884 pairs together
are 13 million lists: for some of them, name some files by a glob. A JSON-lines file holds one variety.
"""

from __future__ import annotations

from collections import defaultdict

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.storage import text_files

NEEDED = ("link", "question_number", "flores_passage", "question")


def read_belebele(asked: Asked) -> Content:
    """Read `<code>.jsonl` files, whose names are FLORES codes (`arb_Arab`): all 122 are languages of their own here.

    A passage is known by its link, a question by link and number. Relevant is the question's passage, in any language.

    Raises:
        UserError: no file is there, or a line lacks something.
    """
    collected = Collected()
    of_item: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for uri in storage.expand(asked.data, (".jsonl", ".jsonl.gz", ".jsonl.xz")):
        language = text_files.stem(uri)
        documents: dict[str, str] = {}
        for number, line in text_files.json_lines(uri):
            if line is None or any(not line.get(name) for name in NEEDED):
                raise UserError(f"{uri} line {number + 1} is not Belebele's: it needs {', '.join(NEEDED)}")
            link = str(line["link"])
            if link not in documents:
                documents[link] = collected.document(language, link, line["flores_passage"])
            item = f"{link}#{line['question_number']}"
            collected.query(language, item, line["question"], item)
            of_item[item][documents[link]] = 1
    collected.judge_items(of_item)
    return collected.content()


BELEBELE = Definition(
    "hf://datasets/facebook/belebele/data",
    read_belebele,
    ("monolingual", "cross-lingual"),
    ("ndcg@10",),
    revision="75b399394a9803252cfec289d103de462763db7c",
)
