"""Adding to a finished store: it becomes the store that all inputs at once would have made, and nothing is redone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepare_killed import kill_when, times

from hbt_ray import storage
from hbt_ray.batches.chunk import read_chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.config import PlanConfig, PrepareConfig, UserError
from hbt_ray.data import align
from hbt_ray.data.pieces import Sizes
from hbt_ray.data.prepare import prepare
from hbt_ray.data.streams import StreamStore
from hbt_ray.model import tokenizer

pytestmark = pytest.mark.usefixtures("ray_cluster")
SMALL = Sizes(part_bytes=2000, run_bytes=4000, file_row_groups=2)


def text(*key: object) -> str:
    """Words that `key` decides."""
    chance = np.random.default_rng([*str(key).encode()])
    return " ".join(f"{chance.integers(1000)}" for _ in range(chance.integers(1, 12)))


def parallel(path: Path, languages: Mapping[str, Sequence[int]], name: str, source: str | None = None) -> str:
    """Rows of these groups in each language; those of every fifth group come twice, with two answers. They name their
    `source`, if there is one."""
    rows = [(g, lang, n) for lang, groups in languages.items() for g in groups for n in range(1 + (g % 5 == 0))]
    columns = {
        "group": [f"g{group}" for group, *_ in rows],
        "lang": [language for _, language, _ in rows],
        "query": [text(name, "q", group, language) for group, language, _ in rows],
        "passage": [text(name, "p", *row) for row in rows],
        **({"source": [source] * len(rows)} if source else {}),
    }
    pq.write_table(pa.table(columns), path, row_group_size=40)
    return str(path)


def bitext(path: Path, languages: Mapping[str, Sequence[int]]) -> str:
    rows = [(group, language) for language, groups in languages.items() for group in groups]
    columns = {
        "group": [f"s{group}" for group, _ in rows],
        "lang": [language for _, language in rows],
        "text": [text("s", group, language) for group, language in rows],
    }
    pq.write_table(pa.table(columns), path, row_group_size=40)
    return str(path)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.learn([text("sample", number) for number in range(2000)], 150).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Questions in German and English, later in Russian and Amharic, news, and sentences, later in French."""
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "qa": parallel(folder / "qa.parquet", {"de": range(0, 120), "en": range(40, 200)}, "qa"),
        "more": parallel(folder / "more.parquet", {"ru": range(100, 260), "am": range(0, 60, 3)}, "qa"),
        "news": parallel(folder / "news.parquet", {"de": range(0, 50), "en": range(0, 50)}, "news", "mail"),
        "sentences": bitext(folder / "s.parquet", {"de": range(0, 80), "en": range(0, 80)}),
        "fr": bitext(folder / "fr.parquet", {"fr": range(0, 100, 2)}),  # those from 80 on have no partner
    }


def config(named: str, out: Path | str, inputs: Sequence[str], **changes: Any) -> PrepareConfig:
    base = {"tokenizer": named, "out": str(out), "row_group_rows": 8, "seed": 3, "max_tokens": 8, "partitions": 3}
    return PrepareConfig.model_validate({**base, "input": inputs, **changes})


def adding(out: Path | str, inputs: Sequence[str], **changes: Any) -> PrepareConfig:
    return PrepareConfig.model_validate({"out": str(out), "append": True, "input": inputs, **changes})


def contents(folder: Path | str) -> dict[str, bytes]:
    """The files that a store's manifest tells of, by their path."""
    store = StreamStore(str(folder))
    return {path: (Path(folder) / path).read_bytes() for stream in store.streams for path, _ in stream.files}


def same_store(one: Path | str, other: Path | str) -> None:
    """The same manifest, to the checksum, the same files, and the same batches."""
    first, second = StreamStore(str(one)), StreamStore(str(other))
    assert first.manifest == second.manifest
    assert contents(one) == contents(other)
    for strategy in ("hybrid", "x-y"):
        config = PlanConfig.model_validate({"batch_size": 16, "strategy": strategy})
        plans = Plan(first, config), Plan(second, config)
        assert plans[0].hash == plans[1].hash
        assert read_chunk(first, plans[0], 0, 30, 2) == read_chunk(second, plans[1], 0, 30, 2)


def test_languages_and_sources_as_if_all_had_been_there(named: str, files: dict[str, str], tmp_path: Path) -> None:
    first = [f"qa={files['qa']}", f"sentences={files['sentences']}"]
    later = [f"qa={files['more']}", f"news={files['news']}", f"sentences={files['fr']}"]
    prepare(config(named, tmp_path / "whole", [*first, *later]), SMALL)
    prepare(config(named, tmp_path / "grown", first), SMALL)
    before = times(tmp_path / "grown" / "streams"), times(tmp_path / "grown" / "tokenizer")
    # in three steps, cut in other ways
    prepare(adding(tmp_path / "grown", later[:1], partitions=5), Sizes(part_bytes=700, file_row_groups=2))
    prepare(adding(tmp_path / "grown", later[1:2]), SMALL)
    made = prepare(adding(tmp_path / "grown", later[2:]), Sizes(file_row_groups=2))
    same_store(tmp_path / "whole", tmp_path / "grown")
    store = StreamStore(made["out"])
    store.check_files()
    assert set(store.manifest["counts"]["by_source"]) == {"news/mail", "qa", "sentences"}
    assert made["quarantined"] == 10
    kept = [stream for stream in store.streams if stream.kind == "bitext" and stream.languages[0] == "fr"]
    assert [stream.rows for stream in kept] == [40]  # partners were found in the store
    now = times(tmp_path / "grown" / "streams"), times(tmp_path / "grown" / "tokenizer")
    assert all(then.items() <= after.items() for then, after in zip(before, now, strict=True))
    assert not list((tmp_path / "grown" / "append").rglob("*.arrows"))


def test_a_store_of_more_blocks_than_the_index_may_have(
    named: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = [f"qa={files['qa']}"], [f"qa={files['more']}", f"news={files['news']}"]
    prepare(config(named, tmp_path / "grown", first), SMALL)
    assert StreamStore(f"{tmp_path}/grown").alignment.block_rows == 8
    monkeypatch.setattr(align, "MOST_BLOCKS", 20)
    prepare(config(named, tmp_path / "whole", [*first, *later]), SMALL)
    prepare(adding(tmp_path / "grown", later), SMALL)
    assert StreamStore(f"{tmp_path}/grown").alignment.block_rows > 8
    same_store(tmp_path / "whole", tmp_path / "grown")


def test_the_same_again_adds_nothing_and_rows_of_a_stream_are_refused(
    named: str, files: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "store"
    prepare(config(named, out, [f"qa={files['qa']}"]), SMALL)
    manifest = (out / "manifest.json").read_bytes()
    line = r"qa has pairs in de in .*store already, and streams do not grow: give the new data another name"
    for again in (files["qa"], parallel(tmp_path / "de.parquet", {"it": range(9), "de": range(500, 520)}, "qa")):
        with pytest.raises(UserError, match=line):
            prepare(adding(out, [f"qa={again}"]), SMALL)
        assert (out / "manifest.json").read_bytes() == manifest
    added = adding(out, [f"qa={files['more']}"])
    made = prepare(added, SMALL)
    stamps = times(out)
    assert prepare(added, SMALL) == made  # the corrected command went on, and the same one finds its work done
    assert {path: stamp for path, stamp in times(out).items() if "/append/" not in path} == {
        path: stamp for path, stamp in stamps.items() if "/append/" not in path
    }
    assert prepare(config(named, out, [f"qa={files['qa']}"]), SMALL) == made  # and so does that which made the store
    renamed = prepare(adding(out, [f"qa-2={files['qa']}"]), SMALL)
    assert renamed["rows"] > made["rows"]


@pytest.mark.long
def test_a_store_on_s3_grows_alike(named: str, files: dict[str, str], s3: str, tmp_path: Path) -> None:
    place, later = s3 + tmp_path.name, [f"qa={files['more']}", f"news={files['news']}"]
    for out in (str(tmp_path / "local"), place):
        prepare(config(named, out, [f"qa={files['qa']}"]), SMALL)
        prepare(adding(out, later), SMALL)
    local, remote = StreamStore(f"{tmp_path}/local"), StreamStore(place)
    remote.check_files()
    assert remote.manifest == local.manifest
    plans = [Plan(store, PlanConfig(batch_size=16)) for store in (local, remote)]
    assert read_chunk(local, plans[0], 0, 20, 2) == read_chunk(remote, plans[1], 0, 20, 2)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 4}, "was prepared with --seed 3, and so is what is added to it; --seed 4 needs a store of its own"),
        ({"max_tokens": 9}, "was prepared with --max-tokens 8"),
        ({"row_group_rows": 16}, "was prepared with --row-group-rows 8"),
        ({"tokenizer": "train:200"}, "was prepared with --tokenizer .*; --tokenizer train:200 needs"),
        ({"drop_duplicates": True}, "was prepared with --drop-duplicates False"),
    ],
)
def test_settings_are_those_of_the_store(
    changes: dict[str, Any], line: str, named: str, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.getbasetemp() / "settled"
    if not out.exists():
        prepare(config(named, out, [f"qa={files['qa']}"]), SMALL)
    with pytest.raises(UserError, match=line):
        prepare(adding(out, [f"news={files['news']}"], **changes), SMALL)


def test_there_must_be_a_store_and_a_tokenizer(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none holds no finished stream store"):
        prepare(adding(tmp_path / "none", [f"news={files['news']}"]))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="--tokenizer: field required"):
        PrepareConfig(input=(files["news"],), out=str(tmp_path / "none"))  # type: ignore[arg-type]


@pytest.mark.long
def test_what_was_killed_goes_on(
    named: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it writes streams, and where it stood just before and after the manifest."""
    out, first, later = tmp_path / "grown", [f"qa={files['qa']}"], [f"qa={files['more']}", f"news={files['news']}"]
    prepare(config(named, tmp_path / "whole", [*first, *later]), SMALL)
    prepare(config(named, out, first), SMALL)
    had = StreamStore(str(out)).manifest
    told = {"out": str(out), "append": True, "input": later, "partitions": 20}
    packed = out / "append" / "work" / "pack"
    kill_when(json.dumps(told), json.dumps(SMALL), lambda: len(times(packed, "*.json")) >= 3)
    store = StreamStore(str(out))
    assert store.manifest == had  # the old store
    store.check_files()
    grouped = times(out / "append" / "work" / "group")
    commit = storage.commit

    def dies(when: str, *given: Any) -> Any:
        if when == "after":
            commit(*given)
        raise KeyboardInterrupt

    for when in ("before", "after"):
        monkeypatch.setattr(storage, "commit", lambda *given, when=when: dies(when, *given))
        with pytest.raises(KeyboardInterrupt):
            prepare(PrepareConfig.model_validate(told), SMALL)
        assert times(out / "append" / "work" / "group") == grouped  # nothing is done twice
        store = StreamStore(str(out))
        assert (store.manifest == had) == (when == "before")
        Plan(store, PlanConfig(batch_size=16))  # with the index that the manifest tells of
    monkeypatch.setattr(storage, "commit", commit)
    new = times(out / "streams")
    prepare(PrepareConfig.model_validate(told), SMALL)
    assert times(out / "streams") == new
    same_store(tmp_path / "whole", out)


def test_an_addition_that_was_done_but_not_noted_is_not_asked_for_again(
    named: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "grown"
    prepare(config(named, out, [f"qa={files['qa']}"]), SMALL)
    commit = storage.commit

    def then_dies(*given: Any) -> None:
        commit(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "commit", then_dies)
    with pytest.raises(KeyboardInterrupt):
        prepare(adding(out, [f"news={files['news']}"]), SMALL)
    monkeypatch.setattr(storage, "commit", commit)
    prepare(adding(out, [f"qa={files['more']}"]), SMALL)
    had = StreamStore(str(out)).manifest
    prepare(adding(out, [f"news={files['news']}"]), SMALL)
    assert StreamStore(str(out)).manifest == had


def test_another_addition_takes_the_place_of_one_that_was_given_up(
    named: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "grown"
    prepare(config(named, out, [f"qa={files['qa']}"]), SMALL)
    shutil.copytree(out, tmp_path / "copy")
    commit = storage.commit
    monkeypatch.setattr(storage, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(adding(out, [f"given-up={files['news']}"]), SMALL)
    assert list((out / "streams").glob("given-up*/**/*.parquet"))
    monkeypatch.setattr(storage, "commit", commit)
    for folder in (out, tmp_path / "copy"):
        prepare(adding(folder, [f"news={files['news']}"]), SMALL)
    same_store(out, tmp_path / "copy")
    assert not list((out / "streams").glob("given-up*/**/*.parquet"))
