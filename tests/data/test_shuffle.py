"""The three stages of `prepare`: what they write is decided by input and settings, whatever happens on the way."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from flaky import FlakyServer
from hypothesis import given
from hypothesis import strategies as st
from prepare_killed import kill_when, times

from hbt_ray import storage
from hbt_ray.config import PrepareConfig, UserError
from hbt_ray.data import exchange, lengths, shuffle
from hbt_ray.data.exchange import Segment
from hbt_ray.data.existing import Existing
from hbt_ray.data.pieces import Sizes
from hbt_ray.data.prepare import prepare
from hbt_ray.data.read import ReadStage
from hbt_ray.data.streams import StreamStore
from hbt_ray.model import tokenizer

pytestmark = pytest.mark.usefixtures("ray_cluster")
WORDS = ("Haus", "Baum", "Straße", "река", "дом", "国", "家", "house", "tree", "river", "of", "the", "und", "auf")
SMALL = Sizes(part_bytes=2000, run_bytes=4000, file_row_groups=2)
# three languages, of which a group has two or three; a row of every seventh group is there twice
LANGUAGES = ("de", "en", "ru")


def text(*key: object) -> str:
    """Words that `key` decides."""
    chance = np.random.default_rng([*str(key).encode()])
    return " ".join(chance.choice(WORDS, chance.integers(1, 40)))


def parallel_file(path: Path, groups: range) -> None:
    rows = [(group, language) for group in groups for language in LANGUAGES[: 2 + group % 2]]
    rows += [(group, "de") for group in groups if group % 7 == 0]
    columns = {
        "group": [f"g{group}" for group, _ in rows],
        "lang": [language for _, language in rows],
        "query": [text("q", *row) if row != (5, "de") else " " for row in rows],
        "passage": [text("p", *row) for row in rows],
        "source": [f"source {group % 2}" for group, _ in rows],
    }
    pq.write_table(pa.table(columns), path, row_group_size=50)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(12):
        parallel_file(folder / f"{number:02d}.parquet", range(number * 50, number * 50 + 50))
    return folder


@pytest.fixture(scope="module")
def settings(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    named = str(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.learn([text("sample", n) for n in range(3000)], 150).save_pretrained(named)
    return {"source": "parallel", "input": (str(corpus),), "tokenizer": named, "row_group_rows": 8, "max_tokens": 30}


@pytest.fixture(scope="module")
def whole(settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> StreamStore:
    """The store made in one part and one partition."""
    out = str(tmp_path_factory.mktemp("whole") / "store")
    config = PrepareConfig.model_validate({**settings, "out": out, "partitions": 1})
    return StreamStore(prepare(config, Sizes(file_row_groups=2))["out"])


@pytest.fixture(scope="module")
def cut(settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> StreamStore:
    """The store made in many parts and seven partitions."""
    out = str(tmp_path_factory.mktemp("cut") / "store")
    return StreamStore(prepare(PrepareConfig.model_validate({**settings, "out": out, "partitions": 7}), SMALL)["out"])


def checksum(uri: str) -> str:
    return str(storage.read_manifest(uri, "stream store")["checksum"])


@pytest.fixture(scope="module")
def two_levels(settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> StreamStore:
    """The store made in many parts and eleven partitions, to which at most four tasks write and of which four read."""
    out = str(tmp_path_factory.mktemp("two levels") / "store")
    config = PrepareConfig.model_validate({**settings, "out": out, "partitions": 11})
    return StreamStore(prepare(config, SMALL._replace(fan_out=4))["out"])


def test_parts_and_partitions_decide_nothing(whole: StreamStore, cut: StreamStore, two_levels: StreamStore) -> None:
    assert checksum(two_levels.uri) == checksum(cut.uri) == checksum(whole.uri)
    for file in (file for stream in whole.streams for file, _ in stream.files):
        for store in (cut, two_levels):
            assert (Path(store.uri) / file).read_bytes() == (Path(whole.uri) / file).read_bytes()
    for store in (whole, cut, two_levels):
        assert {path.name for path in Path(store.uri).iterdir()} == {
            "alignment", "manifest.json", "quarantine", "run.json", "streams", "tokenizer"
        }  # fmt: skip


def test_a_group_that_no_task_can_hold_is_named(settings: dict[str, object], corpus: Path, tmp_path: Path) -> None:
    table = pq.read_table(corpus / "00.parquet")
    column = pa.array(["all"] * table.num_rows)
    pq.write_table(table.set_column(table.schema.get_field_index("group"), "group", column), tmp_path / "a.parquet")
    sizes = SMALL._replace(largest=4000)
    config = PrepareConfig.model_validate(
        {**settings, "input": (str(tmp_path / "*.parquet"),), "out": str(tmp_path / "store")}
    )
    with pytest.raises(UserError, match=rf"[67]\d rows are of one group, as {tmp_path}/a\.parquet row \d+: a group is"):
        prepare(config, sizes)
    assert not storage.committed(config.out)
    whole = config.model_copy(update={"input": PrepareConfig.model_validate({**settings, "out": "/o"}).input})
    with pytest.raises(UserError, match=r"a partition of the shuffle has .* set --partitions to \d+ times as many"):
        prepare(whole.model_copy(update={"partitions": 1, "out": str(tmp_path / "one")}), sizes)


@given(partitions=st.integers(1, 512**2))
def test_what_a_task_of_the_second_level_takes_does_not_grow(partitions: int) -> None:
    sizes = Sizes()
    wide = shuffle.width(partitions, sizes)
    segments = -(-partitions // wide)
    assert segments <= sizes.fan_out and wide <= sizes.fan_out
    if wide > 1:  # of each of `fan_out` runs it takes a segment
        assert sizes.run_bytes * sizes.fan_out / segments <= 2 * sizes.run_bytes


@pytest.mark.parametrize("fan_out", [512, 2])
@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ({"query": [], "passage": []}, 0.01),
        ({"query": ["", " "], "passage": ["a", "b"]}, 1.0),
        ({"group": ["1", "2"], "lang": ["de", "de"], "text": ["eins", "zwei"]}, 0.01),  # nothing has a translation
    ],
)
def test_inputs_without_a_usable_row_are_said(
    settings: dict[str, object], tmp_path: Path, rows: dict[str, list[str]], share: float, fan_out: int
) -> None:
    table = pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()})
    pq.write_table(table, tmp_path / "rows.parquet")
    told = {"tokenizer": settings["tokenizer"], "max_bad_share": share, "out": str(tmp_path / "out"), "partitions": 3}
    own = {"input": (str(tmp_path / "rows.parquet"),), **({"language": "de"} if "query" in rows else {})}
    with pytest.raises(UserError, match=r"no usable row in .*rows\.parquet"):
        prepare(PrepareConfig.model_validate({**told, **own}), SMALL._replace(fan_out=fan_out))


def test_a_part_is_written_in_runs_that_are_small(settings: dict[str, object], corpus: Path, tmp_path: Path) -> None:
    config = PrepareConfig.model_validate({**settings, "out": str(tmp_path)})
    storage.upload(str(config.tokenizer), storage.join(config.out, "tokenizer"))
    pieces = [[str(file), number, 0, None] for number, file in enumerate(sorted(corpus.iterdir())[:3])]
    found, bad, nothing = [], str(tmp_path / "bad"), ray.put(Existing())
    for run_bytes, runs in ((2**30, 1), (1, 3)):
        commit = ReadStage(config, str(tmp_path / f"{runs}"), 5, 1, run_bytes, "", False, bad, nothing)(0, pieces)
        assert len(commit["offsets"]) == runs
        uri = str(tmp_path / f"{runs}" / "part-00000.arrows")
        partitions = zip(*(map(Segment, [uri] * 5, run, run[1:]) for run in commit["offsets"]), strict=True)
        found.append([pa.concat_tables(exchange.read_segments(segments)).to_pylist() for segments in partitions])
    assert found[0] == found[1]
    counts = commit["tally"]["inputs"]["data"]
    assert sum(map(len, found[0])) == counts["rows"] - counts["bad"]


def test_row_groups_are_whole_to_the_end_of_a_stream(cut: StreamStore) -> None:
    for stream in cut.streams:
        counts = []
        for number, (path, rows) in enumerate(stream.files):
            assert path == f"streams/{stream.name}/part-{number:05d}.parquet"
            footer = pq.read_metadata(Path(cut.uri) / path)
            assert footer.num_rows == rows == 16 or number == len(stream.files) - 1
            counts += [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        assert counts[:-1] == [8] * (len(counts) - 1)
        assert 0 < counts[-1] <= 8
        assert sum(counts) == stream.rows
    assert [len(stream.files) for stream in cut.streams] == [22, 19, 22, 19, 19]
    cut.check_files()


def test_counts_are_those_of_a_plain_recount(corpus: Path, cut: StreamStore) -> None:
    rows = [
        {**row, "file": str(file), "row": number}
        for file in sorted(corpus.iterdir())
        for number, row in enumerate(pq.read_table(file).to_pylist())
    ]
    tokens = tokenizer.load_tokenizer(cut.tokenizer_uri)
    quarantined: Counter[str] = Counter()
    kept = []
    for row in rows:
        if row["query"].strip():
            kept.append(row)
        else:
            quarantined["query is empty"] += 1
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"query": [], "passage": []})
    for row in kept:
        for side in ("query", "passage"):
            found[row["lang"]][side].append(min(len(tokens(row[side], add_special_tokens=False)["input_ids"]), 30))
    assert cut.manifest["counts"] == {
        "files": 12,
        "read": len(rows),
        "kept": len(kept),
        "excluded": {},
        "duplicates": len(kept) - len({(row["group"], row["lang"], row["query"], row["passage"]) for row in kept}),
        "quarantined": dict(quarantined),
        "by_language": {
            language: {
                "queries": len(sides["query"]),
                "passages": len(sides["passage"]),
                "query_tokens": sum(sides["query"]),
                "passage_tokens": sum(sides["passage"]),
            }
            for language, sides in found.items()
        },
        "by_source": dict(Counter(row["source"] for row in kept)),
    }
    for language, sides in found.items():
        for place, side in enumerate(("query", "passage")):
            total: list[int] = []
            for stream in cut.streams:
                if stream.languages[place] == language:
                    total = lengths.add(total, stream.lengths[place])
            assert total == lengths.histogram(np.array(sides[side]))


@pytest.mark.long
def test_a_store_on_s3_is_the_local_one(
    whole: StreamStore, settings: dict[str, object], corpus: Path, s3: str, tmp_path: Path
) -> None:
    place = s3 + tmp_path.name
    storage.upload(corpus, place + "/input")
    config = {**settings, "input": (place + "/input/*.parquet",), "out": place + "/store", "partitions": 3}
    prepare(PrepareConfig.model_validate(config), Sizes(part_bytes=20_000, file_row_groups=2))
    assert checksum(place + "/store") == checksum(whole.uri)
    store = StreamStore(place + "/store")
    store.check_files()
    for number, stream in enumerate(whole.streams):
        rows = np.random.default_rng(0).permutation(stream.rows)
        columns = ["group", "query", "passage"]
        assert store.read(number, rows, columns) == whole.read(number, rows, columns)
    assert storage.sizes(place + "/store").keys() == {"manifest.json", "run.json"}


@pytest.mark.long
def test_a_task_sends_as_many_requests_whatever_the_input(
    settings: dict[str, object], s3: str, s3_server: FlakyServer, tmp_path: Path
) -> None:
    each = []
    for files in (24, 48):
        (tmp_path / f"{files}").mkdir()
        for number in range(files):
            parallel_file(tmp_path / f"{files}" / f"{number:02d}.parquet", range(number * 50, number * 50 + 50))
        place = f"{s3}{tmp_path.name}/{files}"
        storage.upload(str(tmp_path / f"{files}"), place + "/input")
        config = {**settings, "input": (place + "/input/*.parquet",), "out": place + "/store", "partitions": files}
        before = len(s3_server.requests)
        prepare(PrepareConfig.model_validate(config), SMALL._replace(fan_out=6, file_row_groups=64))
        sent = [path for _, path in s3_server.requests[before:]]
        tasks = {path for path in sent if "/store/work" in path and path.endswith(".json")}
        each.append(len(sent) / len(tasks))
    assert each[1] < 1.2 * each[0]


def begun(stage: Path) -> bool:
    """Whether eight pieces of a stage are committed."""
    return len(times(stage, "*.json")) >= 8


@pytest.mark.long
def test_a_killed_run_goes_on_where_it_stood(settings: dict[str, object], tmp_path: Path) -> None:
    learning = {**settings, "tokenizer": "train:150", "partitions": 40}
    uninterrupted = prepare(PrepareConfig.model_validate({**learning, "out": str(tmp_path / "one")}), SMALL)["out"]
    out = tmp_path / "two"
    config = PrepareConfig.model_validate({**learning, "out": str(out)})
    before: dict[str, int] = {}
    for stage in ("read", "group", "pack"):
        folder = out / "work" / stage
        kill_when(config.model_dump_json(), json.dumps(SMALL), partial(begun, folder))
        now = {**times(out / "work", "*.json"), **times(out / "tokenizer", "*")}
        assert len(times(folder, "*.json")) < (40 if stage == "group" else 30)  # it was killed in the middle
        assert not storage.committed(str(out))
        assert before == {path: now.get(path) for path in before}  # what was committed was not done again
        before = now
    packed = [json.loads(path.read_text())["path"] for path in (out / "work" / "pack").glob("*.json")]
    files = {path: (out / path).stat().st_mtime_ns for path in packed}
    assert prepare(config, SMALL)["out"] == str(out)
    assert checksum(str(out)) == checksum(uninterrupted)
    assert files == {path: (out / path).stat().st_mtime_ns for path in packed}
    assert not (out / "work").exists()
    manifest = times(out, "*")
    prepare(config, SMALL)  # a finished store is left as it is
    assert times(out, "*") == manifest


def test_a_mistake_in_the_last_part_keeps_what_is_done(
    settings: dict[str, object], corpus: Path, tmp_path: Path
) -> None:
    for path in corpus.iterdir():
        os.link(path, tmp_path / path.name)
    odd = pq.read_table(corpus / "11.parquet")
    tags = odd["lang"].to_pylist()
    odd = odd.set_column(1, "lang", pa.array([*tags[:-1], "qq-x"]))
    pq.write_table(odd, tmp_path / "99.parquet")
    out = tmp_path / "store"
    config = PrepareConfig.model_validate({**settings, "input": (str(tmp_path / "*.parquet"),), "out": str(out)})
    skipping = config.model_copy(update={"on_error": "skip"})
    with pytest.raises(UserError, match=rf"99\.parquet row {len(tags) - 1}: unknown language tag 'qq-x' in query_lang"):
        prepare(config, SMALL)
    assert not storage.committed(config.out)
    done = times(out / "work" / "read", "*.json")
    assert len(done) > 10
    prepare(skipping, SMALL)
    assert StreamStore(config.out).manifest["counts"]["quarantined"]["unknown language tag"] == 1
    # parts cut in another way begin anew, and end in the same store
    other = skipping.model_copy(update={"partitions": 2, "out": str(tmp_path / "other")})
    with pytest.raises(UserError):
        prepare(other.model_copy(update={"on_error": "fail"}), SMALL)
    left = Path(other.out) / "streams" / "left"
    left.mkdir(parents=True)
    prepare(other, Sizes(part_bytes=50_000, file_row_groups=2))
    assert checksum(other.out) == checksum(config.out)
    assert not left.exists()
