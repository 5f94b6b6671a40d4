"""xPQA: questions about products in 12 languages and in English, with candidate answers likewise.

Shen et al. 2023, arXiv 2305.09249, test; nDCG@10 within each language, from it to English, and from English to it.
As in MTEB's XPQARetrieval, each pair of languages has a pool of its own: the English documents of German questions are
not those of Polish ones, and have the tag `en-x-de`.
"""

from __future__ import annotations

from hbt_ray import languages, storage
from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks.content import Asked, Collected, Content
from hbt_ray.evaluation.tasks.definition import Definition
from hbt_ray.storage import text_files

COLUMNS = ("lang", "question", "question_en", "answer", "context", "label")
ANSWERS = "2"  # the label of a candidate that answers the question in full


def read_xpqa(asked: Asked) -> Content:
    """Read the file; texts are one query or one document of their language however often they occur.

    The English document is `candidate`, as MTEB's XPQARetrieval reads it, or where there is no such column what stands
    between `<strong>` and `</strong>` in `context`.

    Raises:
        UserError: the file is missing, or lacks a column, or a language is unknown.
    """
    uri = asked.data if asked.data.endswith(".csv") else storage.join(asked.data, "test.csv")
    collected = Collected()
    known: dict[tuple[str, str, str], str] = {}  # kind, language and text to id

    def query(language: str, text: str, item: str) -> str:
        place = "query", language, text
        if place not in known:
            known[place] = collected.query(language, str(len(known)), text, item)
        return known[place]

    def document(language: str, text: str) -> str:
        place = "document", language, text
        if place not in known:
            known[place] = collected.document(language, str(len(known)), text)
        return known[place]

    rows = text_files.read_csv(uri)
    there = next(rows, [])
    # what MTEB reads has the English document in a column of its own, and only rows that answer
    needed = [name for name in COLUMNS if "candidate" not in there or name not in ("context", "label")]
    missing = [name for name in needed if name not in there]
    if missing:
        raise UserError(f"{uri} has no column {', '.join(missing)}")
    for number, values in enumerate(rows):
        if len(values) != len(there):
            raise UserError(f"{uri} row {number} has {len(values)} columns, not {len(there)}")
        row = dict(zip(there, values, strict=True))
        if row.get("label", ANSWERS) != ANSWERS or not row["question"] or not row["question_en"] or not row["answer"]:
            continue
        language = languages.normalize(row["lang"])
        if language is None:
            raise UserError(f"{uri} row {number}: unknown language {row['lang']!r}")
        marked = (row.get("context") or "").partition("<strong>")[2].rpartition("</strong>")[0]
        english = (row.get("candidate") or marked).strip()
        answer = document(language, row["answer"])
        english_query = query("en", row["question_en"], row["question_en"])
        asked_for = query(language, row["question"], row["question_en"])
        collected.judge(english_query, answer)
        collected.judge(asked_for, answer)
        if english:
            collected.judge(asked_for, document(f"en-x-{language}", english))
    return collected.content()


XPQA = Definition(
    "hf://datasets/jinaai/xpqa/test.csv",
    read_xpqa,
    ("monolingual", "cross-lingual"),
    ("ndcg@10",),
    revision="c99d599f0a6ab9b85b065da6f9d94f9cf731679f",
)
