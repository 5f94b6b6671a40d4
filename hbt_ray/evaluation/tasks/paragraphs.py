"""XQuAD, MLQA and TyDi QA GoldP as passage retrieval: which paragraph of all of its language answers a question.

Documents of a language are all paragraphs that the files have in it, each text once.

- XQuAD (Artetxe et al. 2020, arXiv 1910.11856): 1,190 questions on 240 paragraphs in each of 12 languages, translations
  of each other, so that the other settings may be asked for.
- MLQA (Lewis et al. 2020, arXiv 1910.07475): test, 7 languages, all 49 pairs of question and paragraph language. The
  corpus of a pair is that of its paragraph language, also for questions that are not in it.
- TyDi QA GoldP (Clark et al. 2020, arXiv 2003.05002): validation, 9 languages; nothing is a translation.
"""

from __future__ import annotations

from hbt_ray.data.sources import squad
from hbt_ray.evaluation.tasks import groups
from hbt_ray.evaluation.tasks.definition import Definition

READ = groups.groups_reader("squad", squad.answers)
HEADLINE = ("mrr@10", "ndcg@10", "recall@1", "recall@10", "recall@100")

XQUAD = Definition(
    "hf://datasets/google/xquad",
    READ,
    ("monolingual",),
    HEADLINE,
    revision="51adfef1c1287aab1d2d91b5bead9bcfb9c68583",
)
MLQA = Definition("hf://datasets/google/xtreme/MLQA.*/test-*.parquet", READ, ("monolingual", "cross-lingual"), HEADLINE)
TYDIQA = Definition(
    "hf://datasets/google-research-datasets/tydiqa/secondary_task/validation-*.parquet",
    READ,
    ("monolingual",),
    HEADLINE,
)
