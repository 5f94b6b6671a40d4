"""MS MARCO passage ranking: which of 8.8 million passages answers a query put to a search engine.

Bajaj et al. 2016, arXiv 1611.09268, dev: 6,980 queries in English, in BEIR's layout; MRR@10 and Recall@1000.
"""

from __future__ import annotations

from functools import partial

from hbt_ray.evaluation.tasks import beir
from hbt_ray.evaluation.tasks.definition import Definition

HEADLINE = ("mrr@10", "recall@1000")

MSMARCO = Definition(
    "hf://datasets/mteb/msmarco",
    partial(beir.read_beir, splits=("dev",)),
    ("monolingual",),
    HEADLINE,
    revision="c5a29a104738b98a9e76336939199e264163d4a0",
    ignore_identical_ids=True,
)
