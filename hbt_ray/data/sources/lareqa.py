"""LAReQA retrieval files (XQuAD-R and its like): SQuAD JSON whose paragraphs also tell where their sentences lie.

Roy et al. 2020, arXiv 2004.05484; files at github.com/google-research-datasets/lareqa.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hbt_ray.config import UserError
from hbt_ray.storage import text_files


@dataclass(frozen=True)
class Candidate:
    """One sentence of one paragraph, which is what gets retrieved.

    Attributes:
        id: `<paragraph>_<position>`, both counted from 0 over the file; texts may occur twice, ids may not.
        sentence: the slice of the context that the file's `sentence_breaks` name.
        context: the paragraph.
    """

    id: str
    sentence: str
    context: str

    @property
    def with_context(self) -> str:
        """Sentence and context with nothing between them and without newlines, as the official
        `utils_lareqa.py` of github.com/google-research/xtreme feeds its encoder."""
        return (self.sentence + self.context).replace("\n", "")


@dataclass(frozen=True)
class Question:
    """A question and the place of its relevant sentence in `LareqaFile.candidates`.

    Attributes:
        id: the same in every language, which makes it the key between translations.
        answer: the answer, which begins in that sentence; empty where the file has only its place.
    """

    id: str
    text: str
    candidate: int
    answer: str


@dataclass(frozen=True)
class LareqaFile:
    """What one file holds, in the file's order."""

    language: str
    candidates: tuple[Candidate, ...]
    questions: tuple[Question, ...]


def read_lareqa_file(uri: str) -> LareqaFile:
    """Parse the file `<language>.json`, plain, .gz or .xz.

    Raises:
        UserError: the file is missing, truncated or not of this format; the line names file and paragraph.
    """
    candidates: list[Candidate] = []
    questions: dict[str, Question] = {}
    for number, paragraph in enumerate(_paragraphs(uri)):
        try:
            sentences, asked = _parse(paragraph, number, first=len(candidates))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{uri} paragraph {number} is not LAReQA data: {reason}") from None
        candidates += sentences
        for question in asked:
            if question.id in questions:
                raise UserError(f"{uri} paragraph {number}: question {question.id} occurs twice")
            questions[question.id] = question
    return LareqaFile(text_files.stem(uri), tuple(candidates), tuple(questions.values()))


def _paragraphs(uri: str) -> list[dict[str, Any]]:
    content = text_files.load_json(uri)
    try:
        return [paragraph for article in content["data"] for paragraph in article["paragraphs"]]
    except (KeyError, TypeError):
        raise UserError(f"{uri} is not LAReQA data: it has no data[].paragraphs[]") from None


def _parse(paragraph: dict[str, Any], number: int, first: int) -> tuple[list[Candidate], list[Question]]:
    """Candidates and questions of paragraph `number`; the file's first `first` candidates came before."""
    context = paragraph["context"]
    breaks = [(int(start), int(stop)) for start, stop in paragraph["sentence_breaks"]]
    for start, stop in breaks:
        if not 0 <= start < stop <= len(context):
            raise ValueError(f"sentence break [{start}, {stop}] is not within its context of {len(context)}")
    candidates = [Candidate(f"{number}_{i}", context[slice(*pair)], context) for i, pair in enumerate(breaks)]
    questions = []
    for entry in paragraph["qas"]:
        answer = entry["answers"][0]
        begins = int(answer["answer_start"])
        inside = [i for i, (start, stop) in enumerate(breaks) if start <= begins < stop]
        if len(inside) != 1:
            raise ValueError(f"the answer of question {entry['id']} begins in {len(inside)} sentences, not in one")
        text = str(answer.get("text", ""))
        questions.append(Question(str(entry["id"]), str(entry["question"]), first + inside[0], text))
    return candidates, questions
