"""XQuAD-R and tasks of its kind: every sentence of every paragraph is a candidate, in each language.

Roy et al. 2020, arXiv 2004.05484. Relevant to a question are its answer sentences in all languages that have it.
"""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa

from hbt_ray import storage
from hbt_ray.data.sources import lareqa
from hbt_ray.evaluation.tasks.base import Task


def load(data: str, text: str) -> Task:
    """Read `<language>.json[.xz|.gz]` files, of which each may lack questions that others have.

    Args:
        data: folder of the files, URI.
        text: candidates are their `sentence`, or `sentence+context`.

    Raises:
        UserError: no file is there, or one is malformed.
    """
    queries: dict[str, list[str]] = {"id": [], "lang": [], "text": [], "item": []}
    documents: dict[str, list[str]] = {"id": [], "lang": [], "text": []}
    relevant_to_item: defaultdict[str, list[str]] = defaultdict(list)
    for uri in storage.expand(data, (".json", ".json.xz", ".json.gz")):
        file = lareqa.read(uri)
        ids = [f"{file.language}:{candidate.id}" for candidate in file.candidates]
        documents["id"] += ids
        documents["lang"] += [file.language] * len(ids)
        documents["text"] += [c.with_context if text == "sentence+context" else c.sentence for c in file.candidates]
        for question in file.questions:
            queries["id"].append(f"{file.language}:{question.id}")
            queries["lang"].append(file.language)
            queries["text"].append(question.text)
            queries["item"].append(question.id)
            relevant_to_item[question.id].append(ids[question.candidate])
    relevant = {
        query: tuple(relevant_to_item[item]) for query, item in zip(queries["id"], queries["item"], strict=True)
    }
    return Task("xquad-r", pa.table(queries), pa.table(documents), relevant)
