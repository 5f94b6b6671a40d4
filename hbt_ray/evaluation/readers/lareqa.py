"""LAReQA's files: every sentence of every paragraph is a candidate, in each language."""

from __future__ import annotations

from collections import defaultdict

from hbt_ray import storage
from hbt_ray.data.sources import lareqa
from hbt_ray.evaluation.readers.content import Asked, Collected, Content


def read(asked: Asked) -> Content:
    """Read `<language>.json[.xz|.gz]` files, of which each may lack questions that others have.

    Relevant to a question are its answer sentences in all languages that have it.

    Raises:
        UserError: no file is there, or one is malformed.
    """
    collected = Collected()
    of_item: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for uri in storage.expand(asked.data, (".json", ".json.xz", ".json.gz")):
        file = lareqa.read(uri)
        whole = asked.text == "sentence+context"
        ids = [
            collected.document(file.language, candidate.id, candidate.with_context if whole else candidate.sentence)
            for candidate in file.candidates
        ]
        for question in file.questions:
            collected.query(file.language, question.id, question.text, question.id)
            of_item[question.id][ids[question.candidate]] = 1
    collected.judge_items(of_item)
    return collected.content()
