"""The plan through Ray Data: every slice at its planned step and rank, for any number of workers, from any step."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from flaky import FlakyServer
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray import storage
from hbt_ray.batches import chunk, shuffler
from hbt_ray.batches.plan import MIX_ROWS, Plan
from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import PlanConfig, PrepareConfig, UserError
from hbt_ray.data.prepare import prepare
from hbt_ray.data.streams import StreamStore

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
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


def consume(
    iterator: ray.data.DataIterator, uri: str, config: PlanConfig, start: int, stop: int, rank: int, ranks: int
) -> Log:
    plan = Plan(StreamStore(uri), config)
    slices = shuffler.rank_slices(shuffler.blocks(iterator), plan, start, stop, rank, ranks)
    return [(part.step, part.stratum, part.pairs.to_pylist()) for part in slices]


def run(store: StreamStore, start: int, stop: int, ranks: int, config: PlanConfig = CONFIG) -> Log:
    """The global batches that `ranks` consumers get, whoever has which of their rows."""
    splits = shuffler.dataset(store.data, config, start, stop, ranks, Wanted(2)).streaming_split(ranks, equal=True)
    task = ray.remote(num_cpus=0)(consume)
    logs = ray.get([task.remote(splits[rank], store.uri, config, start, stop, rank, ranks) for rank in range(ranks)])
    return [
        (step, stratum, sorted((pair for log in logs for pair in log[number][2]), key=str))
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
        batch = plan.batches(step, step + 1)
        expected = []
        for place, at in zip(batch.members[0].tolist(), batch.rows[0], strict=True):
            member, row = plan.members[place], at[None]
            query, passage = row, row
            if member.pair is not None:
                query, passage = store.matches(member.pair, row)[:: 1 if member.query < member.passage else -1]
            (asked,) = store.read(member.query, query, ["group", "query"]).to_pylist()
            (answer,) = store.read(member.passage, passage, ["group", "passage", "negatives"]).to_pylist()
            assert asked["group"] == answer["group"]
            languages = [plan.languages[number] for number in plan.member_languages[place]]
            expected.append({**asked, **answer, "query_lang": languages[0], "passage_lang": languages[1]})
        found = [{name: pair[name] for name in expected[0]} for pair in pairs]
        assert sorted(found, key=str) == sorted(expected, key=str)


class Trouble(threading.Thread):
    """Stops read tasks for a moment and kills some, from outside, while it runs."""

    def __init__(self, kills: int) -> None:
        super().__init__()
        self.left, self.over = kills, threading.Event()

    def __enter__(self) -> Trouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

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


def digest(part: chunk.Slice) -> str:
    """Of the tokens, groups and languages of a slice, in order."""
    content = pa.BufferOutputStream()
    with pa.ipc.new_stream(content, part.pairs.schema.remove_metadata()) as writer:
        writer.write_table(part.pairs.replace_schema_metadata(None).take(pa.array(range(part.pairs.num_rows))))
    return hashlib.sha256(content.getvalue()).hexdigest()


def follow(
    iterator: ray.data.DataIterator, uri: str, config: PlanConfig, stop: int, rank: int, ranks: int
) -> list[tuple[int, str, str]]:
    """Step, stratum and content of every slice a rank is handed."""
    slices = shuffler.rank_slices(shuffler.blocks(iterator), Plan(StreamStore(uri), config), 0, stop, rank, ranks)
    return [(part.step, part.stratum, digest(part)) for part in slices]


@pytest.mark.long
def test_two_thousand_steps_with_slow_and_killed_read_tasks(
    store: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk, "CHUNK_PAIRS", 8192)
    config, steps, ranks = PlanConfig(batch_size=2048), 2000, 4  # a read task has four steps' pairs
    with Trouble(kills=steps // 4 // 20) as trouble:
        splits = shuffler.dataset(store.data, config, 0, steps, ranks).streaming_split(ranks, equal=True)
        task = ray.remote(num_cpus=0)(follow)
        logs = ray.get([task.remote(splits[rank], store.uri, config, steps, rank, ranks) for rank in range(ranks)])
    assert trouble.left == 0
    plan = Plan(store, config)
    for start in range(0, steps, 4):
        values = chunk.read_chunk(store, plan, start, start + 4, ranks)
        for rank, value in enumerate(values):
            expected = [(part.step, part.stratum, digest(part)) for part in chunk.slices(value, rank, ranks)]
            assert logs[rank][start : start + 4] == expected


def test_global_batches_are_the_same_for_any_number_of_ranks(store: StreamStore) -> None:
    plan = Plan(store, CONFIG)
    batches = []
    for ranks in (1, 2, 4, 8, 16):
        slices = [
            list(chunk.slices(value, rank, ranks))
            for rank, value in enumerate(chunk.read_chunk(store, plan, 3, 40, ranks))
        ]
        assert all(len({(part.step, part.stratum) for part in parts}) == 1 for parts in zip(*slices, strict=True))
        together = (pa.concat_tables([part.pairs for part in parts]).to_pylist() for parts in zip(*slices, strict=True))
        batches.append([sorted(rows, key=str) for rows in together])
    assert all(found == batches[0] for found in batches)


@given(ranks=st.integers(1, 2000), each=st.integers(1, 64))
def test_chunks_of_any_number_of_ranks(store: StreamStore, ranks: int, each: int) -> None:
    found = chunk.shape(store, ranks * each, ranks)
    parts = found.parts(ranks)
    assert [rank for part in parts for rank in part] == list(range(ranks))
    largest = max(len(part) for part in parts)
    shared = chunk.SHARED if len(parts) > 1 else 1
    assert found.steps * largest * each <= shared * max(chunk.CHUNK_PAIRS, ranks * each) * (1 + largest / ranks)
    if len(parts) > 1:  # a task's rows are neighbours
        assert largest * each >= chunk.SHARED * MIX_ROWS
        assert all(part.start * each % MIX_ROWS == 0 for part in parts)
        assert found.steps % len(parts) == 0


def test_tasks_that_share_the_ranks_of_a_chunk_read_what_one_would(store: StreamStore) -> None:
    config, ranks, steps = PlanConfig(batch_size=4096), 64, 6
    assert chunk.shape(store, config.batch_size, ranks).parts(ranks) == [range(32), range(32, 64)]

    def rows(values: Iterable[tuple[int, pa.Buffer]]) -> dict[int, list[str]]:
        found: defaultdict[int, list[str]] = defaultdict(list)
        for rank, value in values:
            for part in chunk.slices(value, rank, ranks):
                found[part.step] += map(str, part.pairs.to_pylist())
        return {step: sorted(pairs) for step, pairs in found.items()}

    handed = enumerate(shuffler.dataset(store.data, config, 0, steps, ranks).iter_rows())
    found = rows((number % ranks, pa.py_buffer(row["value"])) for number, row in handed)
    assert list(found) == list(range(steps))
    assert found == rows(enumerate(chunk.read_chunk(store, Plan(store, config), 0, steps, ranks)))


@pytest.mark.long
def test_failing_storage_changes_nothing(store: StreamStore, s3: str, s3_server: FlakyServer) -> None:
    plan = Plan(store, CONFIG)
    expected = [chunk.read_chunk(store, plan, start, start + 20, 2) for start in range(0, 400, 20)]
    failed, s3_server.share = sum(s3_server.failed.values()), 0.15
    for copy in range(2):  # each is read anew: what a process has read it keeps
        uri = storage.join(s3, f"shuffler-store-{copy}")
        storage.upload(store.uri, uri)
        remote = StreamStore(uri)
        assert [chunk.read_chunk(remote, plan, start, start + 20, 2) for start in range(0, 400, 20)] == expected
    assert run(remote, 0, 60, 2) == run(store, 0, 60, 2)
    s3_server.share = 0.05
    assert sum(s3_server.failed.values()) > failed


def test_a_damaged_file_is_named_on_every_rank(store: StreamStore, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.uri, copy)
    victim = sorted(copy.rglob("part-*.parquet"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    victim.write_bytes(content)
    splits = shuffler.dataset(StreamStore(str(copy)).data, CONFIG, 0, 60, 2).streaming_split(2, equal=True)
    task = ray.remote(num_cpus=0)(consume)
    ended = [task.remote(split, str(copy), CONFIG, 0, 60, rank, 2) for rank, split in enumerate(splits)]
    for rank in ended:
        with pytest.raises(ray.exceptions.RayTaskError, match=f"step 0: .*{victim.name}"):
            ray.get(rank)


def test_a_rank_notices_what_is_not_its_own(store: StreamStore) -> None:
    plan = Plan(store, CONFIG)
    first, second = chunk.read_chunk(store, plan, 0, 2, 2)
    assert [part.step for part in chunk.slices(first, 0, 2)] == [0, 1]
    with pytest.raises(RuntimeError, match="rank 0 of 2 was handed the slices of rank 1 of 2"):
        next(chunk.slices(second, 0, 2))
    late = shuffler.dataset(store.data, CONFIG, 5, 9, 1).iterator()
    with pytest.raises(RuntimeError, match="was handed step 5 .* where the plan has step 0"):
        list(shuffler.rank_slices(shuffler.blocks(late), plan, 0, 9, 0, 1))
    short = shuffler.dataset(store.data, CONFIG, 0, 4, 1).iterator()
    with pytest.raises(RuntimeError, match="ended at step 4, before step 9"):
        list(shuffler.rank_slices(shuffler.blocks(short), plan, 0, 9, 0, 1))


@pytest.mark.parametrize(
    ("size", "workers", "most", "says"),
    [
        (12, 5, None, "--batch-size 12 .* --workers 5; these counts would do: 1, 2, 3, 4, 6, 12"),
        (64, 2, 4, "divided among 3 workers, .* would do: 60, 72 .multiples of 12."),
        (6, 2, 4, "divided among 4 workers, .* would do: 12 .multiples of 12."),
    ],
)
def test_workers_must_divide_the_batch(size: int, workers: int, most: int | None, says: str) -> None:
    shuffler.check_workers(12, 4)
    shuffler.check_workers(24, 1, 4)
    with pytest.raises(UserError, match=says):
        shuffler.check_workers(size, workers, most)
