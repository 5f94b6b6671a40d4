"""The SQuAD family: SQuAD, XQuAD, MLQA and TyDi QA GoldP in SQuAD's JSON or the hub's parquet, and LAReQA's -R files.

A question id is the group: XQuAD and MLQA give translations of a question the same id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray import languages, storage
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import lareqa
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.storage.text_files import folder, load_json, stem

HUB_COLUMNS = ("id", "question", "context")


def read_squad(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a question: the passage is the paragraph.

    Raises:
        UserError: the file is neither SQuAD JSON nor parquet with SQuAD's columns, or nothing tells its language, or
            its name or folder tells another than the settings.
    """
    query_lang, passage_lang = _languages(piece, layout)
    rows: list[dict[str, Any]] = []
    for key, question, context, _ in _questions(piece.uri):
        in_id = languages.named(key.split("-")[0])  # files of TyDi QA GoldP may hold all: `arabic-123-0`
        rows.append(
            {
                "row": len(rows),
                "source": layout.name,
                "group": key,
                "query_lang": query_lang or in_id,
                "passage_lang": passage_lang or in_id,
                "query": question,
                "passage": context,
            }
        )
        for given in (layout.query_language, layout.passage_language):
            if given and in_id and languages.normalize(given) != in_id:
                raise UserError(f"{piece.uri} question {len(rows) - 1}: its id says {in_id}, not {given}")
    if any(row["query_lang"] is None or row["passage_lang"] is None for row in rows):
        raise UserError(f"{piece.uri}: its name does not tell the language; give --language")
    yield from records.tables(rows)


def answers(uri: str) -> list[tuple[str, ...]]:
    """The answers of each question, in the order of `read_squad`'s records; none where the file has none.

    Raises:
        UserError: the file is neither SQuAD JSON nor parquet with SQuAD's columns.
    """
    return [texts for _, _, _, texts in _questions(uri)]


def read_lareqa_pairs(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a question: the passage is the sentence that holds the answer.

    Raises:
        UserError: the file is not a LAReQA -R file, or its name tells another language than the settings.
    """
    file = lareqa.read_lareqa_file(piece.uri)
    for given in (layout.query_language, layout.passage_language):
        _refuse_other(piece.uri, given, file.language)
    return records.tables(
        {
            "row": row,
            "source": layout.name,
            "group": question.id,
            "query_lang": file.language,
            "passage_lang": file.language,
            "query": question.text,
            "passage": file.candidates[question.candidate].sentence,
        }
        for row, question in enumerate(file.questions)
    )


def _languages(piece: FilePiece, layout: Layout) -> tuple[str | None, str | None]:
    """Query and passage language that settings, folders or the file's name tell.

    Raises:
        UserError: they tell different ones.
    """
    constants = dict(piece.constants)
    found = []
    for side, given, named in zip(
        ("query_lang", "passage_lang"),
        (layout.query_language, layout.passage_language),
        _languages_in_name(piece.uri),
        strict=True,
    ):
        told = constants.get(side) or constants.get("lang") or named
        _refuse_other(piece.uri, given, told)
        found.append(given or told)
    return found[0], found[1]


def _refuse_other(uri: str, given: str | None, told: str | None) -> None:
    if given and told and languages.normalize(given) != languages.normalize(told):
        raise UserError(f"{uri} is in {told}, as its name or folder says, and the settings say {given}: leave that out")


def _questions(uri: str) -> Iterator[tuple[str, Any, Any, tuple[str, ...]]]:
    """Id, question, context and answers of each question."""
    if uri.endswith(".parquet"):
        table = storage.read_parquet(uri)
        for column in HUB_COLUMNS:
            if column not in table.column_names:
                raise UserError(f"{uri} has no column {column}; it has {', '.join(table.column_names)}")
        found = table["answers"].to_pylist() if "answers" in table.column_names else [None] * len(table)
        columns = (table[name].to_pylist() for name in HUB_COLUMNS)
        for key, question, context, answer in zip(*columns, found, strict=True):
            yield str(key), question, context, tuple(answer["text"] if isinstance(answer, dict) else ())
        return
    data = load_json(uri)
    try:
        for article in data["data"]:
            for paragraph in article["paragraphs"]:
                for entry in paragraph["qas"]:
                    texts = tuple(answer.get("text", "") for answer in entry.get("answers") or ())
                    yield str(entry["id"]), entry["question"], paragraph["context"], texts
    except KeyError as error:
        raise UserError(f"{uri} is not SQuAD JSON: no {error}") from None
    except (TypeError, AttributeError) as error:
        raise UserError(f"{uri} is not SQuAD JSON: {error}") from None


def _languages_in_name(uri: str) -> tuple[str | None, str | None]:
    """Query and passage language in a file's name (`de.json`, `xquad.ro.json`, `dev-context-ar-question-de.json`), or
    in the name of its folder on the hub (`xquad.de`, `mlqa.ar.de`)."""
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    pair = re.search(r"context-(\w+)-question-(\w+)", name) or re.fullmatch(r"mlqa\.(\w+)\.(\w+)", folder(uri).lower())
    if pair:
        return pair.group(2), pair.group(1)
    for part in (stem(uri), *name.split(".")[1:2], *folder(uri).split(".")[1:2]):
        if re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?", part) and languages.is_common(part):
            return part, part
    return None, None


SQUAD = Source(
    read_squad,
    (".json", ".json.gz", ".json.xz", ".json.zst", ".parquet"),
    keys=("id", "question", "context", "answers"),
)
LAREQA = Source(read_lareqa_pairs, (".json", ".json.gz", ".json.xz", ".json.zst"))
