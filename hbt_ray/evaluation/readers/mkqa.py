"""MKQA's file: a JSON line a question, in 26 languages, with its answers."""

from __future__ import annotations

from hbt_ray.config import UserError
from hbt_ray.data.sources import files
from hbt_ray.evaluation.readers.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.base import Corpus

NO_STRING = {"unanswerable", "binary", "long_answer"}  # types of answers that a passage cannot hold as a string


def read(asked: Asked) -> Content:
    """Read the questions whose English answers can be found in a passage, with these answers and their aliases.

    Languages are the file's (`zh_cn`, `zh_hk` and `zh_tw` are three).

    Raises:
        UserError: the file is missing, or a line is not MKQA's.
    """
    collected = Collected()
    for number, line in files.read_lines(asked.data):
        try:
            assert line is not None
            english = line["answers"]["en"]
            if NO_STRING & {answer["type"] for answer in english}:
                continue
            strings = [text for answer in english for text in (answer["text"], *answer.get("aliases", ())) if text]
            item = str(line["example_id"])
            for language, text in {"en": line["query"], **line["queries"]}.items():
                collected.answers[collected.query(language, item, text, item)] = tuple(strings)
        except (AssertionError, KeyError, TypeError):
            raise UserError(f"{asked.data} line {number + 1} is not MKQA's") from None
    assert asked.corpus is not None
    return collected.content(Corpus(asked.corpus, asked.language or "en"))
