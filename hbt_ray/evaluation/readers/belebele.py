"""Belebele's files: a JSON-lines file a language variety, 900 questions on 488 passages, the same in all."""

from __future__ import annotations

from collections import defaultdict

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data.sources import files
from hbt_ray.evaluation.readers.content import Asked, Collected, Content

NEEDED = ("link", "question_number", "flores_passage", "question")


def read(asked: Asked) -> Content:
    """Read `<code>.jsonl` files, whose FLORES codes (`arb_Arab`) are the languages: varieties of one are kept apart.

    A passage is known by its link, a question by link and number. Relevant is the question's passage, in any language.

    Raises:
        UserError: no file is there, or a line lacks something.
    """
    collected = Collected()
    of_item: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for uri in storage.expand(asked.data, (".jsonl", ".jsonl.gz", ".jsonl.xz")):
        language = files.stem(uri)
        documents: dict[str, str] = {}
        for number, line in files.read_lines(uri):
            if line is None or any(not line.get(name) for name in NEEDED):
                raise UserError(f"{uri} line {number + 1} is not Belebele's: it needs {', '.join(NEEDED)}")
            link = str(line["link"])
            if link not in documents:
                documents[link] = collected.document(language, link, line["flores_passage"])
            item = f"{link}#{line['question_number']}"
            collected.query(language, item, line["question"], item)
            of_item[item][documents[link]] = 1
    collected.judge_items(of_item)
    return collected.content()
