"""Files of questions and passages that `prepare` reads too: each passage text is one document of its language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import SOURCES
from hbt_ray.data.sources.layout import Layout
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content


def groups_reader(
    source: str, answers: Callable[[str], Sequence[tuple[str, ...]]] | None = None
) -> Callable[[Asked], Content]:
    """A reader of the files of `source`, one of `hbt_ray.data.sources.SOURCES`.

    Args:
        answers: function from a file's URI to the answers of each of its records, where its format has any.

    Records of one group are one question, in all languages it is asked in. Relevant to it are the group's passages, in
    any language. Passages are numbered in each language in order of the files' names.

    Raises, when it reads:
        UserError: no file is there, or one is malformed.
    """

    def read(asked: Asked) -> Content:
        collected = Collected()
        documents: dict[tuple[str, str], str] = {}  # language and text to id
        numbers: defaultdict[str, int] = defaultdict(int)
        texts: dict[str, str] = {}  # of the queries
        of_item: defaultdict[str, dict[str, int]] = defaultdict(dict)
        layout = Layout("data", asked.language, asked.language)
        for uri in storage.expand(asked.data, SOURCES[source].suffixes):
            answered = answers(uri) if answers is not None else None
            for table in SOURCES[source].read(FilePiece(uri), layout):
                checked = records.check_records(table, uri)
                for bad in checked.bad.to_pylist():
                    raise UserError(f"{uri} row {bad['row']}: {bad['reason']}")
                for row in checked.good.to_pylist():
                    group, where = row["group"], f"{uri} row {row['row']}"
                    if group is None:
                        raise UserError(f"{where} has no group, which says what it is a translation of")
                    place = row["passage_lang"], row["passage"]
                    if place not in documents:
                        documents[place] = collected.document(place[0], str(numbers[place[0]]), place[1])
                        numbers[place[0]] += 1
                    query = f"{row['query_lang']}:{group}"
                    if query not in texts:
                        texts[query] = row["query"]
                        collected.query(row["query_lang"], group, row["query"], group)
                    elif texts[query] != row["query"]:
                        raise UserError(f"{where}: question {query} has another text elsewhere")
                    of_item[group][documents[place]] = 1
                    if answered is not None:
                        collected.answer(group, row["passage_lang"], answered[row["row"]])
        collected.judge_items(of_item)
        return collected.content()

    return read
