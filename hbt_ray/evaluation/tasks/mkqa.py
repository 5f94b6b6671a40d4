"""MKQA as retrieval: do passages of the English Wikipedia, found for a question in 26 languages, hold an answer?

Longpre et al. 2021, arXiv 2007.15207. The protocol of mContriever (arXiv 2112.09118) and BGE-M3 (arXiv 2402.03216):
questions that are unanswerable, of yes or no, or with long answers are left out, which leaves 6,619; the corpus is the
2.7 million passages of BEIR's NQ; a question counts when one of its first 100 passages, title included, holds one of
its English answers or their aliases as whole words, upper and lower case alike. They call this Recall@100, as RocketQA
(arXiv 2010.08191) does; by our names it is success@100. BGE-M3 makes the corpus's punctuation uniform besides; this
does not.
"""

from __future__ import annotations

from hbt_ray.evaluation.readers import mkqa
from hbt_ray.evaluation.tasks.definition import Definition

MKQA = Definition(
    "https://raw.githubusercontent.com/apple/ml-mkqa/main/dataset/mkqa.jsonl.gz",
    mkqa.read,
    ("monolingual", "cross-lingual"),
    ("success@100", "success@20"),
    corpus="hf://datasets/mteb/nq/corpus.jsonl",
)
