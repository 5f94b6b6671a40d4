"""XQuAD-R and MLQA-R: which sentence of any paragraph answers a question, in one language, across, or in one pool.

LAReQA, Roy et al. 2020, arXiv 2004.05484: XQuAD-R has 1,190 questions in each of 11 languages and 13,014 candidates;
MLQA-R 4,199 in 7 languages, each in two to four of them, and 20,534. The files are in a repository on GitHub; its head
has MLQA-R (CC BY-NC 4.0) no more. The hub's copy, google-research-datasets/xquad_r, does not say where sentences begin,
and so cannot be used.

Measures are those of arXiv 2408.10536 (mAP, R@1, R@10, rank distance) and XTREME-R (mAP@20).
"""

from __future__ import annotations

from functools import partial

from hbt_ray.evaluation.readers import lareqa
from hbt_ray.evaluation.tasks.definition import EVERY, Definition

REPOSITORY = "https://github.com/google-research-datasets/lareqa"

_candidates = partial(
    Definition,
    read=lareqa.read,
    settings=EVERY,
    headline=("map", "map@20", "recall@1", "recall@10"),
    texts=("sentence", "sentence+context"),
    published=False,
)
XQUAD_R = _candidates(f"the folder {REPOSITORY}/tree/master/xquad-r")
MLQA_R = _candidates(f"the folder {REPOSITORY}/tree/354d67d1cd066854cdfbf5ad0e6105528976141d/mlqa-r")
