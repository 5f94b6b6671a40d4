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
from hbt_ray.storage.text_files import folder, load_json, stem

HUB_COLUMNS = ("id", "question", "context")


def read_squad(piece: FilePiece, language: str | None) -> Iterator[pa.Table]:
    """One record a question: the passage is the paragraph.

    Raises:
        UserError: the file is neither SQuAD JSON nor parquet with SQuAD's columns, or nothing tells its language.
    """
    uri = piece.uri
    query_lang, passage_lang = (language, language) if language else _languages_in_name(uri)
    rows: list[dict[str, Any]] = []
    for key, question, context, _ in _questions(uri):
        in_id = languages.named(key.split("-")[0])  # files of TyDi QA GoldP may hold all: `arabic-123-0`
        rows.append(
            {
                "row": len(rows),
                "source": folder(uri),
                "group": key,
                "query_lang": query_lang or in_id,
                "passage_lang": passage_lang or in_id,
                "query": question,
                "passage": context,
            }
        )
    if any(row["query_lang"] is None for row in rows):
        raise UserError(f"{uri}: its name does not tell the language; give --language")
    yield from records.tables(rows)


def answers(uri: str) -> list[tuple[str, ...]]:
    """The answers of each question, in the order of `read_squad`'s records; none where the file has none.

    Raises:
        UserError: the file is neither SQuAD JSON nor parquet with SQuAD's columns.
    """
    return [texts for _, _, _, texts in _questions(uri)]


def read_lareqa_pairs(piece: FilePiece, language: str | None) -> Iterator[pa.Table]:
    """One record a question: the passage is the sentence that holds the answer.

    Raises:
        UserError: the file is not a LAReQA -R file.
    """
    file = lareqa.read_lareqa_file(piece.uri)
    return records.tables(
        {
            "row": row,
            "source": folder(piece.uri),
            "group": question.id,
            "query_lang": language or file.language,
            "passage_lang": language or file.language,
            "query": question.text,
            "passage": file.candidates[question.candidate].sentence,
        }
        for row, question in enumerate(file.questions)
    )


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
    except (KeyError, TypeError) as error:
        raise UserError(f"{uri} is not SQuAD JSON: no {error}") from None


def _languages_in_name(uri: str) -> tuple[str | None, str | None]:
    """Query and passage language in a file's name (`de.json`, `xquad.ro.json`, `dev-context-ar-question-de.json`), or
    in the name of its folder on the hub (`xquad.de`, `mlqa.ar.de`)."""
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    pair = re.search(r"context-(\w+)-question-(\w+)", name) or re.fullmatch(r"mlqa\.(\w+)\.(\w+)", folder(uri).lower())
    if pair:
        return pair.group(2), pair.group(1)
    for part in (stem(uri), *name.split(".")[1:2], *folder(uri).split(".")[1:2]):
        if re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?", part) and languages.normalize(part):
            return part, part
    return None, None
