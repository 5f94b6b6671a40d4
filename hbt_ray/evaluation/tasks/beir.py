"""Any folder in BEIR's layout as `beir:URI`, in one language (`--language`, English unless given).

Thakur et al. 2021, arXiv 2104.08663: nDCG@10 and Recall@100 over the whole corpus; split `test`, or else `dev`.
"""

from __future__ import annotations

from hbt_ray.evaluation.readers import beir
from hbt_ray.evaluation.tasks.definition import Definition

BEIR = Definition("a folder in BEIR's layout", beir.read, ("monolingual",), ("ndcg@10", "recall@100"), published=False)
