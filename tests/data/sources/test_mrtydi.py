"""Mr. TyDi as the hub has it and as its archives have it."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import columns, read, write_lines

from hbt_ray.config import UserError
from hbt_ray.data.sources.public import PUBLIC

RECORD = ("row", "group", "query_lang", "passage_lang", "query", "passage")
EXPECTED = [(1, "th-4", "th", "th", "q", "Title text")]


@pytest.mark.parametrize("places", [(".", "."), ("mr-tydi-corpus", "mr-tydi")])
def test_on_the_hub(places: tuple[str, str], tmp_path: Path) -> None:
    language = "mrtydi-v1.1-thai"
    corpus = write_lines(
        tmp_path / places[0] / language / "corpus.jsonl.gz",
        {"docid": "1#0", "title": "A", "text": "b"},
        {"docid": "1#1", "title": "Title", "text": "text"},
    )
    topics = tmp_path / places[1] / language / "ir-format-data"
    write_lines(topics / "topics.train.txt", "4\tq", "5\tr")
    write_lines(topics / "qrels.train.txt", "4 Q0 1#1 1", "5 Q0 8#1 1")
    assert columns(read("mrtydi", corpus).good, *RECORD) == EXPECTED


def test_in_its_archives(tmp_path: Path) -> None:
    folder = tmp_path / "mrtydi-v1.1-thai"
    docs = write_lines(
        folder / "collection/docs.jsonl.gz", {"id": "1#0", "contents": "b"}, {"id": "1#1", "contents": "Title text"}
    )
    write_lines(folder / "topic.train.tsv", "4\tq")
    write_lines(folder / "qrels.train.txt", "4 Q0 1#1 1")
    assert columns(read("mrtydi", docs).good, *RECORD) == EXPECTED
    write_lines(folder / "topic.train.tsv", "4 q")
    with pytest.raises(UserError, match=r"topic\.train\.tsv line 1 is '4 q', not an id, a tab and a text"):
        read("mrtydi", docs)


def test_training_files_of_the_other_form_are_no_corpus() -> None:
    assert not "mrtydi-v1.1-thai/train.jsonl.gz".endswith(PUBLIC["mrtydi"].suffixes)
    with pytest.raises(UserError, match=r"lies in no folder such as mrtydi-v1\.1-thai"):
        read("mrtydi", Path("/nowhere/corpus.jsonl.gz"))
