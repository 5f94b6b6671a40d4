"""XQuAD-R and MLQA-R: which sentence of any paragraph answers a question, in one language, across, or in one pool.

LAReQA, Roy et al. 2020, arXiv 2004.05484: XQuAD-R has 1,190 questions in each of 11 languages and 13,014 candidates;
MLQA-R 4,199 in 7 languages, each in two to four of them, and 20,534. MLQA-R was withdrawn from the repository's head
and is in its history, under CC BY-NC 4.0.

Measures are those of arXiv 2408.10536 (mAP, R@1, R@10, rank distance) and XTREME-R (mAP@20).
"""

from __future__ import annotations

from hbt_ray.evaluation.readers import lareqa
from hbt_ray.evaluation.tasks.definition import EVERY, Definition

HEADLINE = ("map", "map@20", "recall@1", "recall@10")
TEXTS = ("sentence", "sentence+context")
REPOSITORY = "github://google-research-datasets:lareqa"

XQUAD_R = Definition(f"{REPOSITORY}@master/xquad-r", lareqa.read, EVERY, HEADLINE, texts=TEXTS)
MLQA_R = Definition(
    f"{REPOSITORY}@354d67d1cd066854cdfbf5ad0e6105528976141d/mlqa-r", lareqa.read, EVERY, HEADLINE, texts=TEXTS
)
