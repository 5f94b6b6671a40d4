"""NeuCLIRBench: English queries against one pool of Chinese, Persian and Russian news.

Lawrie et al. 2025; TREC NeuCLIR 2022-2024. `neuclir/bench` on the hub has queries and graded judgements, the documents
are `neuclir/neuclir1`, about 10 million. nDCG@20 over the pool, with the share of each language in the top of the
lists; the cross-language task, in one language's documents at a time, may be asked for: `--settings cross-lingual`.
"""

from __future__ import annotations

from hbt_ray.evaluation.readers import neuclir
from hbt_ray.evaluation.tasks.definition import Definition

NEUCLIR = Definition(
    "hf://datasets/neuclir/bench/data",
    neuclir.read,
    ("multilingual",),
    ("ndcg@20", "recall@100"),
    corpus="hf://datasets/neuclir/neuclir1/data/???-0*.jsonl.gz",
)
