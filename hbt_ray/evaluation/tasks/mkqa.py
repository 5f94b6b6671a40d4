"""MKQA as retrieval: do passages of the English Wikipedia, found for a question in 26 languages, hold an answer?

Longpre et al. 2021, arXiv 2007.15207. The protocol of mContriever (arXiv 2112.09118) and BGE-M3 (arXiv 2402.03216):
questions that are unanswerable, of yes or no, or with long answers are left out, which leaves 6,619; the corpus is the
2.7 million passages of BEIR's NQ; a question counts when one of its first 100 passages, title included, holds one of
its English answers or their aliases as whole words, upper and lower case alike. They call this Recall@100, as RocketQA
(arXiv 2010.08191) does; by our names it is success@100. BGE-M3 makes the corpus's punctuation uniform besides; this
does not.
"""

from __future__ import annotations

from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.storage import text_files

NO_STRING = {"unanswerable", "binary", "long_answer"}  # types of answers that a passage cannot hold as a string


def read_mkqa(asked: Asked) -> Content:
    """Read the questions whose English answers can be found in a passage, with these answers and their aliases.

    Languages are the file's (`zh_cn`, `zh_hk` and `zh_tw` are three).

    Raises:
        UserError: the file is missing, or a line is not MKQA's.
    """
    collected = Collected(varieties=True)
    for number, line in text_files.json_lines(asked.data):
        try:
            assert line is not None
            english = line["answers"]["en"]
            if NO_STRING & {answer["type"] for answer in english}:
                continue
            strings = [text for answer in english for text in (answer["text"], *answer.get("aliases", ())) if text]
            item = str(line["example_id"])
            collected.answer(item, "en", strings)
            for language, text in {"en": line["query"], **line["queries"]}.items():
                collected.query(language, item, text, item)
        except (AssertionError, KeyError, TypeError):
            raise UserError(f"{asked.data} line {number + 1} is not MKQA's") from None
    assert asked.corpus is not None
    return collected.content(CorpusAt(asked.corpus, asked.language or "en"))


MKQA = Definition(
    "https://raw.githubusercontent.com/apple/ml-mkqa/main/dataset/mkqa.jsonl.gz",
    read_mkqa,
    ("monolingual", "cross-lingual"),
    ("success@100", "success@20"),
    corpus="hf://datasets/mteb/nq/corpus.jsonl",
    corpus_revision="b774495ed302d8c44a3a7ea25c90dbce03968f31",
)
