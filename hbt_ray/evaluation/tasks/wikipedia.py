"""MIRACL and Mr. TyDi: which passages of its language's Wikipedia answer a question.

- MIRACL (Zhang et al. 2023, TACL; arXiv 2210.09984): dev, 18 languages, 13,495 questions, 106 million passages,
  nDCG@10 and Recall@100. Judgements of grade 0 are of passages that were read and found not relevant. Docids are
  those of a language's own Wikipedia, so a pool of several languages, which may be asked for, holds them as
  `lang:docid`; only passages in the question's language have been judged, others count as not relevant there.
- Mr. TyDi (Zhang et al. 2021, arXiv 2108.08787): test, 11 languages, MRR@100 and Recall@100.

A corpus of hard negatives is just another `--corpus`.
"""

from __future__ import annotations

from hbt_ray.evaluation.readers import wikipedia
from hbt_ray.evaluation.tasks.definition import Definition

MIRACL = Definition(
    "hf://datasets/miracl/miracl",
    wikipedia.reader("miracl", "dev"),
    ("monolingual",),
    ("ndcg@10", "recall@100"),
    corpus="hf://datasets/miracl/miracl-corpus",
)
MRTYDI = Definition(
    "hf://datasets/castorini/mr-tydi",
    wikipedia.reader("mrtydi", "test"),
    ("monolingual",),
    ("mrr@100", "recall@100"),
    corpus="hf://datasets/castorini/mr-tydi-corpus",
)
