"""The plan through Ray Data: every slice at its planned step and rank, for any number of workers, from any step."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from hbt_ray.batches import chunk, shuffler
from hbt_ray.batches.plan import Plan
from hbt_ray.config import PlanConfig, PrepareConfig, UserError
from hbt_ray.data.prepare import prepare
from hbt_ray.data.streams import StreamStore

CONFIG = PlanConfig(batch_size=16)
Log = list[tuple[int, str, list[dict[str, Any]]]]  # step, stratum, pairs in order


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> StreamStore:
    folder = tmp_path_factory.mktemp("shuffler")
    rows = [(f"g{group}", language) for group in range(90) for language in ("de", "en", "ru")[: 2 + group % 2]]
    columns = {
        "group": [group for group, _ in rows],
        "lang": [language for _, language in rows],
        "query": [f"question {group} in {language}" for group, language in rows],
        "passage": [f"answer {group} in {language}" for group, language in rows],
        "negatives": [[f"wrong {group}"] * (number % 3) for number, (group, _) in enumerate(rows)],
    }
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    config = PrepareConfig(
        source="parallel",
        input=(str(folder / "rows.parquet"),),
        tokenizer="train:200",
        out=str(folder / "store"),
        partitions=2,
        row_group_rows=8,
    )
    return StreamStore(prepare(config)["out"])


@ray.remote(num_cpus=0)
def consume(
    iterator: ray.data.DataIterator, uri: str, config: PlanConfig, start: int, stop: int, rank: int, ranks: int
) -> Log:
    plan = Plan(StreamStore(uri), config)
    slices = shuffler.rank_slices(iterator, plan, start, stop, rank, ranks)
    return [(part.step, part.stratum, part.pairs.to_pylist()) for part in slices]


def run(store: StreamStore, start: int, stop: int, ranks: int, config: PlanConfig = CONFIG) -> Log:
    """The global batches that `ranks` consumers get."""
    splits = shuffler.dataset(store.uri, config, start, stop, ranks).streaming_split(ranks, equal=True)
    logs = ray.get([consume.remote(splits[rank], store.uri, config, start, stop, rank, ranks) for rank in range(ranks)])
    return [
        (step, stratum, [pair for log in logs for pair in log[number][2]])
        for number, (step, stratum, _) in enumerate(logs[0])
    ]


def test_global_batches_do_not_depend_on_the_workers_or_the_first_step(store: StreamStore) -> None:
    whole = run(store, 0, 60, 1)
    assert [step for step, _, _ in whole] == list(range(60))
    assert all(len(pairs) == 16 for _, _, pairs in whole)
    assert {stratum for _, stratum, _ in whole} == {"mono:de", "mono:en", "mono:ru", "cross"}
    for _, stratum, pairs in whole:
        for pair in pairs:
            if stratum == "cross":
                assert pair["query_lang"] != pair["passage_lang"]
            else:
                assert stratum == f"mono:{pair['query_lang']}" == f"mono:{pair['passage_lang']}"
    assert run(store, 0, 60, 2) == whole
    assert run(store, 0, 60, 4) == whole
    assert run(store, 25, 60, 2) == whole[25:]


def test_what_arrives_is_what_was_planned_and_stored(store: StreamStore) -> None:
    plan = Plan(store, CONFIG)
    for step, _, pairs in run(store, 0, 20, 2):
        batch = plan.batch(step)
        for number, pair in enumerate(pairs):
            language, other = (
                plan.languages[batch.query_languages[number]],
                plan.languages[batch.passage_languages[number]],
            )
            stream, row = int(batch.streams[number]), batch.rows[number : number + 1]
            columns = ["group", f"query.{language}", f"passage.{other}", f"negatives.{other}"]
            (stored,) = store.read(stream, row, columns).to_pylist()
            assert list(stored.values()) == [pair[name] for name in ("group", "query", "passage", "negatives")]
            assert (language, other) == (pair["query_lang"], pair["passage_lang"])


class Trouble(threading.Thread):
    """Stops read tasks for a moment and kills some, from outside, while it runs."""

    def __init__(self, kills: int) -> None:
        super().__init__()
        self.left, self.over = kills, threading.Event()

    def run(self) -> None:
        chance = random.Random(0)
        while not self.over.wait(0.05):
            tasks = [process for process in psutil.process_iter() if "MapBatches(_read" in _title(process)]
            for process in chance.sample(tasks, min(1, len(tasks))):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if self.left and chance.random() < 0.3:
                        process.kill()
                        self.left -= 1
                    else:
                        process.suspend()
                        time.sleep(chance.random() * 0.1)
                        process.resume()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_slow_and_killed_read_tasks_change_nothing(store: StreamStore) -> None:
    large = PlanConfig(batch_size=2048)  # four steps a read task
    trouble = Trouble(kills=5)
    trouble.start()
    troubled = run(store, 0, 200, 4, large)
    trouble.over.set()
    trouble.join()
    assert trouble.left == 0
    plan = Plan(store, large)
    assert [(step, stratum) for step, stratum, _ in troubled] == [
        (step, plan.strata[plan.draw(step)[0]].name) for step in range(200)
    ]
    assert troubled == run(store, 0, 200, 1, large)


def test_a_rank_notices_what_is_not_its_own(store: StreamStore) -> None:
    plan = Plan(store, CONFIG)
    first, second = chunk.read(store, plan, 0, 2, 2)
    assert [part.step for part in chunk.slices(first, 0, 2)] == [0, 1]
    with pytest.raises(RuntimeError, match="rank 0 of 2 was handed the slices of rank 1 of 2"):
        next(chunk.slices(second, 0, 2))
    late = shuffler.dataset(store.uri, CONFIG, 5, 9, 1).iterator()
    with pytest.raises(RuntimeError, match="was handed step 5 .* where the plan has step 0"):
        list(shuffler.rank_slices(late, plan, 0, 9, 0, 1))
    short = shuffler.dataset(store.uri, CONFIG, 0, 4, 1).iterator()
    with pytest.raises(RuntimeError, match="ended at step 4, before step 9"):
        list(shuffler.rank_slices(short, plan, 0, 9, 0, 1))


def test_workers_must_divide_the_batch() -> None:
    shuffler.check_world_size(12, 4)
    with pytest.raises(UserError, match="--batch-size 12 .* --workers 5; these counts would do: 1, 2, 3, 4, 6, 12"):
        shuffler.check_world_size(12, 5)
