"""`prepare --exclude`: what an evaluation task asks is not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hbt_ray.config import Excluded, PrepareConfig, UserError
from hbt_ray.data.exclude import SIMILAR, Exclusion, TaskItems
from hbt_ray.data.prepare import prepare
from hbt_ray.data.records import Checked, check_records, tables
from hbt_ray.data.streams import StreamStore
from hbt_ray.evaluation.task_items import task_items

QUERY = "Which river flows through the old town of Cologne?"
PASSAGE = "The Rhine is the river on whose banks the old town of Cologne was built, as its name says."


def checked(*pairs: tuple[str, str]) -> Checked:
    rows = [
        {"row": row, "source": "data", "query_lang": "en", "passage_lang": "en", "query": query, "passage": passage}
        for row, (query, passage) in enumerate(pairs)
    ]
    (table,) = tables(rows)
    return check_records(table, "file")


def kept(items: TaskItems, *pairs: tuple[str, str]) -> list[int]:
    found, _ = Exclusion([items]).split(checked(*pairs), "file")
    rows: list[int] = found.good["row"].to_pylist()
    return rows


def jaccard(one: str, other: str, characters: int = 4) -> float:
    left, right = ({text[at : at + characters] for at in range(len(text) - characters + 1)} for text in (one, other))
    return len(left & right) / len(left | right)


@pytest.mark.parametrize(
    "variant",
    [
        QUERY,
        QUERY.upper(),
        "which river flows through the OLD town of cologne",
        f"  «{QUERY}» ",
        QUERY.replace("C", "Ｃ"),
    ],
)
def test_the_same_words_are_the_same_item(variant: str) -> None:
    items = TaskItems("faq", [QUERY], [PASSAGE])
    assert kept(items, (variant, "Another text."), ("Another text?", PASSAGE), ("Who?", "He.")) == [2]


def test_nearly_the_same_is_a_test_item_and_the_similar_is_not() -> None:
    items = TaskItems("faq", [QUERY], [PASSAGE])
    near = PASSAGE.replace("as its name says", "as the name says")
    far = PASSAGE.replace("The Rhine is the river on whose banks", "On the banks of the Rhine").replace(
        "as its", "so its"
    )
    assert jaccard(PASSAGE.lower(), near.lower()) > SIMILAR > jaccard(PASSAGE.lower(), far.lower()) > 0.4
    assert kept(items, ("One?", near), ("Two?", far), ("Three?", f"{PASSAGE} {2 * QUERY}")) == [1, 2]


def test_a_short_question_is_not_a_variant_of_another() -> None:
    items = TaskItems("faq", ["Wer war Karl I.?"], [])
    assert kept(items, ("Wer war Karl II.?", "Er."), ("wer war karl i", "Er.")) == [0]


def test_a_query_is_no_passage_and_bitext_is_both() -> None:
    items = TaskItems("faq", [QUERY], [PASSAGE])
    assert kept(items, (PASSAGE, QUERY)) == [0]
    sentence = [{"row": 0, "source": "data", "query_lang": "en", "passage_lang": "en", "group": "1", "bitext": True}]
    (table,) = tables([{**row, "query": PASSAGE, "passage": PASSAGE} for row in sentence])
    found, counts = Exclusion([items]).split(check_records(table, "file"), "file")
    assert not found.good.num_rows and counts == {"faq": 1}


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_left_out_is_counted_by_task(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": QUERY}) + "\n")
    documents = [{"_id": "d", "title": "", "text": PASSAGE}, {"_id": "e", "title": "", "text": "Of no query."}]
    documents = [{**documents[0], "text": "Before it was corrected."}, *documents]  # which BEIR takes the last of
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\ngone\te\t1\n")
    rows = [(QUERY, "An answer."), ("Which?", PASSAGE), ("And who?", "Of no query."), ("Why?", "Because of this.")]
    lines = [f"{query}\t{passage}" for query, passage in rows]
    (tmp_path / "pairs.tsv").write_text("query\tpassage\n" + "\n".join(lines) + "\n")
    settings = {"input": str(tmp_path / "pairs.tsv"), "language": "en", "tokenizer": "train:100"}
    task = "beir:beir"
    config = PrepareConfig.model_validate({**settings, "out": str(tmp_path / "store"), "exclude": [f"beir:{folder}"]})
    with pytest.raises(UserError, match="no task xquadr; there are"):
        task_items([Excluded(name="xquadr")])
    result = prepare(config, excluded=task_items(config.exclude))
    counts = StreamStore(result["out"]).manifest["counts"]
    assert (counts["read"], counts["kept"], counts["excluded"]) == (4, 2, {task: 2})
    (bad,) = (tmp_path / "store" / "quarantine").glob("*.parquet")
    assert [(row["row"], row["reason"], row["value"]) for row in pq.read_table(bad).to_pylist()] == [
        (0, "a test item", task),
        (1, "a test item", task),
    ]
    card = StreamStore(result["out"]).manifest["inputs"]["data"]
    assert (card["rows"], card["bad"], card["excluded"]) == (4, 0, 2)
    with pytest.raises(UserError, match="another run"):  # nor is a store without them taken for one with them
        prepare(config.model_copy(update={"exclude": ()}))
