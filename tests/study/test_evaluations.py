"""A report on finished evaluations: of runs on two tasks, compared, under the names that people gave."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray.config import CompareConfig, EvaluateConfig, EvaluatedEncoder, ReportConfig, UserError
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.study import evaluations
from hbt_ray.study.compare import compare

LANGUAGES = ("de", "en")
ITEMS = 30


def beir(folder: Path) -> str:
    """A task of ITEMS questions, of which each has one relevant document."""
    folder.mkdir()
    texts = [{"_id": f"d{n}", "text": f"fact {n}", "title": ""} for n in range(ITEMS)]
    asked = [{"_id": f"q{n}", "text": f"which fact is {n}?"} for n in range(ITEMS)]
    for name, lines in (("corpus", texts), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "qrels").mkdir()
    judged = [f"q{n}\td{n}\t1" for n in range(ITEMS)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return str(folder)


def evaluated(folder: Path, task: str, name: str, skill: float) -> str:
    """An evaluation of made-up lists, in which the relevant document stands higher with more skill."""
    rng = np.random.default_rng(sum(name.encode()))
    lines = []
    for query in range(ITEMS):
        scores = rng.random(ITEMS)
        scores[query] += skill
        lines += [f"en:q{query} Q0 en:d{n} 1 {score:.6f} x" for n, score in enumerate(scores)]
    run = folder / f"{name}.trec"
    run.write_text("\n".join(lines) + "\n")
    out = str(folder / f"{name}-evaluation")
    settings = EvaluateConfig(
        task=f"beir:{task}",
        language="en",
        out=out,
        run=str(run),
        encoder=EvaluatedEncoder(model=f"models/{name}/model"),
    )
    evaluate(settings)
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("evaluations")
    task, other = beir(folder / "facts"), beir(folder / "other")
    return [
        evaluated(folder, task, "plain", 0.3),
        evaluated(folder, task, "alike", 0.3),
        evaluated(folder, task, "skilled", 1.0),
        evaluated(folder, other, "elsewhere", 0.3),
    ]


def test_models_are_named_compared_and_reported(folders: list[str], tmp_path: Path) -> None:
    plain, alike, skilled, elsewhere = folders
    out = tmp_path / "report"
    named = (plain, alike, f"Skilled one={skilled}", f"plain={elsewhere}")
    runs = evaluations.report_on(ReportConfig(runs=named, out=str(out), title="Facts"))
    assert [run.name for run in runs] == ["plain", "alike", "Skilled one", "plain"]
    page = (out / "index.html").read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert re.search(r"alike monolingual map [-–\d. +to]* no difference shown", text)
    assert re.search(r"Skilled one monolingual map [-–\d. +to]* better", text)
    found = json.loads((out / "comparison-0" / "compare.json").read_text())
    assert [(one["system"], one["verdict"]) for one in found["comparisons"] if one["measure"] == "map"] == [
        ("alike", "no difference shown"),
        ("Skilled one", "better"),
    ]
    assert not (out / "comparison-1").exists()  # one model alone
    assert "no difference shown" in (out / "report.md").read_text()


def test_a_fused_evaluation_has_no_rank_distance_to_compare(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    texts = {"id": ["0", "1"] * 2, "lang": ["de"] * 2 + ["en"] * 2, "text": ["eis", "wasser", "ice", "water"]}
    pq.write_table(pa.table(texts), data / "documents.parquet")
    pq.write_table(pa.table({**texts, "item": texts["id"]}), data / "queries.parquet")
    scores = {"de:0": 3.0, "en:0": 2.0, "de:1": 1.0, "en:1": 0.5}
    lines = [f"{query} Q0 {key} 1 {score} x\n" for query in scores for key, score in scores.items()]
    (tmp_path / "x.trec").write_text("".join(lines))
    settings = {"task": "world-facts", "data": str(data), "encoder": EvaluatedEncoder(model="bm25")}
    folders = {name: str(tmp_path / name) for name in ("bm25", "fused")}
    evaluate(EvaluateConfig(**settings, out=folders["bm25"]))
    evaluate(EvaluateConfig(**settings, out=folders["fused"], fuse=(str(tmp_path / "x.trec"),)))
    runs = tuple(f"{name}={folder}" for name, folder in folders.items())
    evaluations.report_on(ReportConfig(runs=runs, out=str(tmp_path / "report")))
    found = json.loads((tmp_path / "report/comparison-0/compare.json").read_text())
    assert {one["measure"] for one in found["comparisons"]} == {"map"}
    with pytest.raises(
        UserError, match="fused has no rank_distance for other queries than bm25: name other --measures"
    ):
        compare(CompareConfig(runs=runs, out=str(tmp_path / "compared")))


def test_mistakes_are_one_line(folders: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished evaluation"):
        evaluations.report_on(ReportConfig(runs=(folders[0], str(tmp_path)), out=str(tmp_path / "out")))
    with pytest.raises(UserError, match="plain"):
        evaluations.report_on(ReportConfig(runs=(folders[0], f"plain={folders[1]}"), out=str(tmp_path / "out")))
    assert not (tmp_path / "out" / "index.html").exists()
