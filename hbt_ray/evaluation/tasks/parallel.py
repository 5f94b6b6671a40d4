"""Questions and passages that are translations of each other, searched across languages or in one pool.

- Belebele (Bandarkar et al. 2024, arXiv 2308.16884): 900 questions on 488 passages in each of 122 language varieties;
  nDCG@10 within each and between every two. All 14,884 pairs together are 13 million lists: for some of them, name some
  files by a glob.
- xPQA (Shen et al. 2023, arXiv 2305.09249): test, 12 languages, questions about products in each and in English, their
  answers likewise; nDCG@10 within each language, from it to English, and from English to it.
- pooled: any set of translated groups in our parquet schema (`group, lang, query, passage`) as one pool of all its
  languages, in which a group's passages in all languages are relevant; nDCG@20, as NeuCLIR's multilingual task has it.
"""

from __future__ import annotations

from hbt_ray.evaluation.readers import belebele, groups, xpqa
from hbt_ray.evaluation.tasks.definition import Definition

BELEBELE = Definition(
    "hf://datasets/facebook/belebele/data", belebele.read, ("monolingual", "cross-lingual"), ("ndcg@10",)
)
XPQA = Definition("hf://datasets/jinaai/xpqa/test.csv", xpqa.read, ("monolingual", "cross-lingual"), ("ndcg@10",))
POOLED = Definition(
    "a folder of parquet files with columns group, lang, query, passage",
    groups.reader("parallel"),
    ("multilingual",),
    ("ndcg@20", "recall@100"),
    published=False,
)
