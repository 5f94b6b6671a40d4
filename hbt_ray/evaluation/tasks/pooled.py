"""Any groups of translations in the *parallel* schema (`group, lang, query, passage`) as one pool of all languages.

A group's passages in all languages are relevant to its queries; nDCG@20, as NeuCLIR's multilingual task has it.
"""

from __future__ import annotations

from hbt_ray.evaluation.tasks import groups
from hbt_ray.evaluation.tasks.definition import Definition

POOLED = Definition(
    "a folder of parquet files with columns group, lang, query, passage",
    groups.groups_reader("parallel"),
    ("multilingual",),
    ("ndcg@20", "recall@100"),
    published=False,
)
