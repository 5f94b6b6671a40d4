"""Files of the SQuAD family as retrieval: the paragraphs are the documents, each text once in a language."""

from __future__ import annotations

from collections import defaultdict

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.parts import Piece
from hbt_ray.data.sources import SUFFIXES, squad
from hbt_ray.evaluation.readers.content import Asked, Collected, Content


def read(asked: Asked) -> Content:
    """Read all files, whose names or folders tell the languages of questions and paragraphs.

    An id is a question in all languages it is asked in. Relevant to it are the paragraphs, in any language, that a file
    has under this id. Paragraphs are numbered in each language in order of the files' names.

    Raises:
        UserError: no file is there, one is malformed, or a question has two texts in one language.
    """
    collected = Collected()
    documents: dict[tuple[str, str], str] = {}  # language and text to id
    numbers: defaultdict[str, int] = defaultdict(int)
    texts: dict[str, str] = {}  # of the queries
    of_item: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for uri in storage.expand(asked.data, SUFFIXES["squad"]):
        for table in squad.read(Piece(uri), asked.language):
            checked = records.check(table, uri)
            for bad in checked.bad.to_pylist():
                raise UserError(f"{uri} question {bad['row']}: {bad['reason']}")
            for row in checked.good.to_pylist():
                place = row["passage_lang"], row["passage"]
                if place not in documents:
                    documents[place] = collected.document(place[0], str(numbers[place[0]]), place[1])
                    numbers[place[0]] += 1
                query = f"{row['query_lang']}:{row['group']}"
                if query not in texts:
                    texts[query] = row["query"]
                    collected.query(row["query_lang"], row["group"], row["query"], row["group"])
                elif texts[query] != row["query"]:
                    raise UserError(f"{uri} question {row['row']}: {query} has another text elsewhere")
                of_item[row["group"]][documents[place]] = 1
    collected.judge_items(of_item)
    return collected.content()
