"""The SQuAD family: SQuAD, XQuAD, MLQA and TyDi QA GoldP in SQuAD's JSON, and LAReQA's -R files.

A question id is the group: XQuAD and MLQA give translations of a question the same id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.data import languages, records
from hbt_ray.data.parts import Piece
from hbt_ray.data.sources import lareqa
from hbt_ray.data.sources.files import folder, read_json, stem

# TyDi QA GoldP's own files hold all languages; an id begins with the language's name
TYDI_LANGUAGES = {
    "arabic": "ar", "bengali": "bn", "english": "en", "finnish": "fi", "indonesian": "id", "japanese": "ja",
    "korean": "ko", "russian": "ru", "swahili": "sw", "telugu": "te", "thai": "th",
}  # fmt: skip


def read(piece: Piece, language: str | None) -> Iterator[pa.Table]:
    """One record a question: the passage is the paragraph.

    Raises:
        UserError: the file is not SQuAD JSON, or nothing tells its language.
    """
    uri = piece.uri
    data = read_json(uri)
    query_lang, passage_lang = (language, language) if language else _languages_in_name(uri)
    rows: list[dict[str, Any]] = []
    try:
        for article in data["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    in_id = TYDI_LANGUAGES.get(str(question["id"]).split("-")[0])
                    rows.append(
                        {
                            "row": len(rows),
                            "source": folder(uri),
                            "group": str(question["id"]),
                            "query_lang": query_lang or in_id,
                            "passage_lang": passage_lang or in_id,
                            "query": question["question"],
                            "passage": paragraph["context"],
                        }
                    )
    except (KeyError, TypeError) as error:
        raise UserError(f"{uri} is not SQuAD JSON: no {error}") from None
    if any(row["query_lang"] is None for row in rows):
        raise UserError(f"{uri}: its name does not tell the language; give --language")
    yield from records.tables(rows)


def read_lareqa(piece: Piece, language: str | None) -> Iterator[pa.Table]:
    """One record a question: the passage is the sentence that holds the answer.

    Raises:
        UserError: the file is not a LAReQA -R file.
    """
    file = lareqa.read(piece.uri)
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


def _languages_in_name(uri: str) -> tuple[str | None, str | None]:
    """Query and passage language in a file name: `de.json`, `xquad.ro.json`, `dev-context-ar-question-de.json`."""
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    mlqa = re.search(r"context-(\w+)-question-(\w+)", name)
    if mlqa:
        return mlqa.group(2), mlqa.group(1)
    for part in (stem(uri), *name.split(".")[1:2]):
        if re.fullmatch(r"[a-z]{2,3}(-[A-Z][a-z]{3})?", part) and languages.normalize(part):
            return part, part
    return None, None
