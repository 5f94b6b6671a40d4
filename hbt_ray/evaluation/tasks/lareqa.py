"""XQuAD-R and MLQA-R: which sentence of any paragraph answers a question, in one language, across, or in one pool.

LAReQA, Roy et al. 2020, arXiv 2004.05484: XQuAD-R has 1,190 questions in each of 11 languages and 13,014 candidates;
MLQA-R 4,199 in 7 languages, each in two to four of them, and 20,534. The files are in a repository on GitHub; its head
has MLQA-R (CC BY-NC 4.0) no more. The hub's copy, google-research-datasets/xquad_r, does not say where sentences begin,
and so cannot be used.

Measures are those of arXiv 2408.10536 (mAP, R@1, R@10, rank distance) and XTREME-R (mAP@20).
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from hbt_ray import storage
from hbt_ray.data.sources import lareqa
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import EVERY, Definition


def read_lareqa(asked: Asked) -> Content:
    """Read `<language>.json[.xz|.gz]` files, of which each may lack questions that others have.

    Relevant to a question are its answer sentences in all languages that have it.

    Raises:
        UserError: no file is there, or one is malformed.
    """
    collected = Collected()
    of_item: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for uri in storage.expand(asked.data, (".json", ".json.xz", ".json.gz")):
        file = lareqa.read_lareqa_file(uri)
        whole = asked.text == "sentence+context"
        ids = [
            collected.document(file.language, candidate.id, candidate.with_context if whole else candidate.sentence)
            for candidate in file.candidates
        ]
        for question in file.questions:
            collected.query(file.language, question.id, question.text, question.id)
            of_item[question.id][ids[question.candidate]] = 1
            collected.answer(question.id, file.language, [question.answer])
    collected.judge_items(of_item)
    return collected.content()


REPOSITORY = "https://github.com/google-research-datasets/lareqa"

_candidates = partial(
    Definition,
    read=read_lareqa,
    settings=EVERY,
    headline=("map", "map@20", "recall@1", "recall@10"),
    texts=("sentence", "sentence+context"),
    published=False,
)
XQUAD_R = _candidates(f"the folder {REPOSITORY}/tree/master/xquad-r")
MLQA_R = _candidates(f"the folder {REPOSITORY}/tree/354d67d1cd066854cdfbf5ad0e6105528976141d/mlqa-r")
