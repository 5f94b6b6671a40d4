"""MS MARCO and mMARCO: which of 8.8 million passages answers a query put to a search engine.

- MS MARCO passage ranking (Bajaj et al. 2016, arXiv 1611.09268), dev: 6,980 queries in English, in BEIR's layout.
- mMARCO (Bonifacio et al. 2021, arXiv 2108.13897): the same queries and passages in English and 13 machine-translated
  languages, each language's queries searched in its own passages. `google` translations.

MRR@10 and Recall@1000.
"""

from __future__ import annotations

from functools import partial

from hbt_ray.evaluation.readers import beir, mmarco
from hbt_ray.evaluation.tasks.definition import Definition

HEADLINE = ("mrr@10", "recall@1000")

MSMARCO = Definition("hf://datasets/mteb/msmarco", partial(beir.read, splits=("dev",)), ("monolingual",), HEADLINE)
MMARCO = Definition(
    "hf://datasets/unicamp-dl/mmarco/data",
    mmarco.read,
    ("monolingual",),
    HEADLINE,
    corpus="hf://datasets/unicamp-dl/mmarco/data/google/collections",
)
