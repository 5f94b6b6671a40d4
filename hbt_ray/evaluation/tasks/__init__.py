"""Evaluation tasks by name."""

from __future__ import annotations

from hbt_ray.config import Duplicates, UserError
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.evaluation.tasks.beir import BEIR
from hbt_ray.evaluation.tasks.belebele import BELEBELE
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.evaluation.tasks.lareqa import MLQA_R, XQUAD_R
from hbt_ray.evaluation.tasks.mkqa import MKQA
from hbt_ray.evaluation.tasks.mmarco import MMARCO
from hbt_ray.evaluation.tasks.msmarco import MSMARCO
from hbt_ray.evaluation.tasks.neuclir import NEUCLIR
from hbt_ray.evaluation.tasks.paragraphs import MLQA, TYDIQA, XQUAD
from hbt_ray.evaluation.tasks.pooled import POOLED
from hbt_ray.evaluation.tasks.wikipedia import MIRACL, MRTYDI
from hbt_ray.evaluation.tasks.world_facts import WORLD_FACTS
from hbt_ray.evaluation.tasks.xpqa import XPQA

DEFINITIONS: dict[str, Definition] = {
    "xquad-r": XQUAD_R,
    "mlqa-r": MLQA_R,
    "xquad": XQUAD,
    "mlqa": MLQA,
    "tydiqa": TYDIQA,
    "miracl": MIRACL,
    "mrtydi": MRTYDI,
    "msmarco": MSMARCO,
    "mmarco": MMARCO,
    "mkqa": MKQA,
    "neuclir": NEUCLIR,
    "belebele": BELEBELE,
    "xpqa": XPQA,
    "pooled": POOLED,
    "world-facts": WORLD_FACTS,
}


def load_task(
    name: str,
    data: str | None = None,
    text: str = "sentence",
    corpus: str | None = None,
    language: str | None = None,
    skip_queries: bool = False,
    duplicates: Duplicates = "error",
) -> Task:
    """The task `name` from its files.

    Args:
        name: name in DEFINITIONS, or `beir:URI`.
        data: folder with the task's files [URI]; where they are published when None.
        text: what a candidate's text is, `sentence` or `sentence+context`.
        corpus: the task's documents, where they are apart [URI]; where they are published when None.
        language: language of a BEIR folder, or of a corpus whose files do not tell it.
        skip_queries: leave judged queries without text out.
        duplicates: what is done about documents of one id.

    Raises:
        UserError: there is no such task, or its files are missing or malformed.
    """
    kind, colon, folder = name.partition(":")
    if kind == "beir" and colon:
        if data is not None:
            raise UserError(f"--data: {name} names its folder already")
        return BEIR.load(name, folder, corpus, language, text, skip_queries, duplicates)
    if name not in DEFINITIONS:
        raise UserError(f"--task: no task {name}; there are {', '.join(DEFINITIONS)}, beir:URI and mteb:NAME")
    return DEFINITIONS[name].load(name, data, corpus, language, text, skip_queries, duplicates)
