"""LAReQA files: what is read, checked against the published counts, and what is refused."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hbt_ray.config import UserError
from hbt_ray.data.sources import lareqa
from hbt_ray.evaluation import tasks

DATA = Path(__file__).parents[2].parent / "shared/data/eval/xquad_r"
CANDIDATES = {"ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244, "ru": 1219, "th": 852, "tr": 1167,
              "vi": 1209, "zh": 1196}  # fmt: skip


def paragraph() -> dict[str, Any]:
    return {
        "context": "Eins.\nZwei. Eins.",
        "sentences": ["Eins.", "Zwei.", "wrong"],
        "sentence_breaks": [[0, 5], [6, 11], [12, 17]],
        "qas": [
            {"id": "q1", "question": "Was?", "answers": [{"text": "Eins", "answer_start": 12}]},
            {"id": "q2", "question": "Wo?", "answers": [{"text": "Zwei", "answer_start": 6}]},
        ],
    }


def write(path: Path, *paragraphs: dict[str, Any]) -> str:
    content = json.dumps({"data": [{"paragraphs": [item]} for item in paragraphs]}).encode()
    compressors: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress}
    path.write_bytes(compressors.get(path.suffix, bytes)(content))
    return str(path)


@pytest.mark.parametrize("name", ["de.json", "de.json.gz", "de.json.xz"])
def test_candidates_are_slices_of_the_context(tmp_path: Path, name: str) -> None:
    other = {**paragraph(), "qas": []}
    file = lareqa.read_lareqa_file(write(tmp_path / name, paragraph(), other))
    assert file.language == "de"
    assert [c.id for c in file.candidates] == ["0_0", "0_1", "0_2", "1_0", "1_1", "1_2"]
    assert [c.sentence for c in file.candidates[:3]] == ["Eins.", "Zwei.", "Eins."]
    assert file.candidates[1].with_context == "Zwei.Eins.Zwei. Eins."
    assert [(q.id, q.text, q.candidate) for q in file.questions] == [("q1", "Was?", 2), ("q2", "Wo?", 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("sentence_breaks"), "de.json paragraph 1 is not LAReQA data: no 'sentence_breaks'"),
        (lambda p: p["sentence_breaks"].append([12, 99]), r"paragraph 1 .*sentence break \[12, 99\] is not within"),
        (lambda p: p["qas"][0]["answers"][0].update(answer_start=5), "answer of question q1 begins in 0 sentences"),
        (lambda p: p["sentence_breaks"].append([5, 13]), "answer of question q1 begins in 2 sentences"),
        (lambda p: p["qas"][0].update(answers=[]), "paragraph 1 is not LAReQA data"),
        (lambda p: p["qas"].append(p["qas"][0]), "paragraph 1: question q1 occurs twice"),
    ],
)
def test_malformed_paragraph_is_named(tmp_path: Path, change: Any, message: str) -> None:
    bad = paragraph()
    change(bad)
    with pytest.raises(UserError, match=message):
        lareqa.read_lareqa_file(write(tmp_path / "de.json", {**paragraph(), "qas": []}, bad))


def test_other_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "de.json").write_text("[1]")
    with pytest.raises(UserError, match=r"de.json is not LAReQA data: it has no data"):
        lareqa.read_lareqa_file(str(tmp_path / "de.json"))


def test_questions_missing_in_a_language(tmp_path: Path) -> None:
    """As in MLQA-R: only some questions have a relevant document in both languages."""
    write(tmp_path / "de.json", paragraph())
    write(tmp_path / "en.json.xz", {**paragraph(), "qas": paragraph()["qas"][:1]})
    task = tasks.load_task("xquad-r", str(tmp_path), "sentence")
    assert task.relevant == {"de:q1": ("de:0_2", "en:0_2"), "de:q2": ("de:0_1",), "en:q1": ("de:0_2", "en:0_2")}
    assert task.queries["item"].to_pylist() == ["q1", "q2", "q1"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the XQuAD-R files at {DATA}")
def test_xquad_r_counts() -> None:
    task = tasks.load_task("xquad-r", str(DATA), "sentence")
    assert isinstance(task.documents, pa.Table)
    languages = task.documents["lang"].to_pylist()
    assert {language: languages.count(language) for language in CANDIDATES} == CANDIDATES
    assert (len(task.queries), len(task.documents)) == (13_090, 13_014)
    assert {len(documents) for documents in task.relevant.values()} == {11}
    with_context = tasks.load_task("xquad-r", str(DATA), "sentence+context").documents
    assert isinstance(with_context, pa.Table)
    contexts = with_context["text"].to_pylist()
    sentences = task.documents["text"].to_pylist()
    assert all(c.startswith(s.replace("\n", "")) for c, s in zip(contexts, sentences, strict=True))
    assert not any("\n" in context for context in contexts)


def test_unknown_task(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no task squad; there are xquad-r, mlqa-r,"):
        tasks.load_task("squad", str(tmp_path))
