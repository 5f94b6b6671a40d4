"""`prepare` on Ray Data: what goes in comes out, once, in an order that the seed alone decides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray.config import PrepareConfig, UserError
from hbt_ray.data.prepare import prepare
from hbt_ray.data.streams import StreamStore
from hbt_ray.model import tokenizer

LANGUAGES = ("de", "en", "ru")


def parallel_file(path: Path, groups: range) -> str:
    rows = [(f"g{group}", language) for group in groups for language in LANGUAGES[: 2 + group % 2]]
    pq.write_table(
        pa.table(
            {
                "group": [group for group, _ in rows],
                "lang": [language for _, language in rows],
                "query": [f"question {group} in {language}" for group, language in rows],
                "passage": [f"answer {group} in {language}" for group, language in rows],
            }
        ),
        path,
    )
    return str(path)


def pairs_file(path: Path, rows: int) -> str:
    pq.write_table(
        pa.table(
            {
                "query": [f"question {row}" if row != 3 else "" for row in range(rows)],
                "query_lang": ["de" if row % 2 else "sw" for row in range(rows)],
                "passage": [f"answer {row}" for row in range(rows)],
                "passage_lang": ["de" if row % 2 else "en" for row in range(rows)],
                "negatives": [[f"wrong {row}"] for row in range(rows)],
            }
        ),
        path,
    )
    return str(path)


def texts(store: StreamStore, stream: int, column: str) -> list[str]:
    rows = np.arange(store.streams[stream].rows)
    tokens = tokenizer.load_tokenizer(store.tokenizer_uri)
    return tokens.batch_decode(store.read(stream, rows, [column])[column].to_pylist())


@pytest.mark.usefixtures("ray_cluster")
def test_parallel_groups_meet_from_several_files(tmp_path: Path) -> None:
    files = (parallel_file(tmp_path / "a.parquet", range(0, 40)), parallel_file(tmp_path / "b.parquet", range(40, 70)))
    named = [f"data={file}" for file in files]
    settings = {"source": "parallel", "input": named, "tokenizer": "train:200", "partitions": 3, "row_group_rows": 4}
    result = prepare(PrepareConfig.model_validate({**settings, "out": str(tmp_path / "one")}))
    store = StreamStore(result["out"])
    numbers = {stream.languages[0]: number for number, stream in enumerate(store.streams)}
    assert {language: store.streams[number].rows for language, number in numbers.items()} == {
        "de": 70, "en": 70, "ru": 35,
    }  # fmt: skip
    groups = {
        language: [text.split()[1] for text in texts(store, number, "query")] for language, number in numbers.items()
    }
    for language, number in numbers.items():
        assert texts(store, number, "query") == [f"question {group} in {language}" for group in groups[language]]
        assert texts(store, number, "passage") == [f"answer {group} in {language}" for group in groups[language]]
        assert len(set(groups[language])) == len(groups[language]) and groups[language] != sorted(groups[language])
    for pair, rows in enumerate(store.alignment.rows.tolist()):  # translations are found
        left, right = store.matches(pair, np.arange(rows))
        of_left, of_right = (groups[store.streams[number].languages[0]] for number in store.alignment.streams[pair])
        assert [of_left[row] for row in left] == [of_right[row] for row in right]
        assert len(set(left.tolist())) == rows == min(len(of_left), len(of_right))
    # the same seed gives the same streams whatever the order of the files, another seed another order
    again = prepare(PrepareConfig.model_validate({**settings, "input": named[::-1], "out": str(tmp_path / "two")}))
    other = prepare(PrepareConfig.model_validate({**settings, "seed": 1, "out": str(tmp_path / "three")}))
    two, three = StreamStore(again["out"]), StreamStore(other["out"])
    assert texts(two, 0, "query") == texts(store, 0, "query")
    assert texts(three, 0, "query") != texts(store, 0, "query")
    assert sorted(texts(three, 0, "query")) == sorted(texts(store, 0, "query"))


@pytest.mark.usefixtures("ray_cluster")
def test_pairs_quarantine_and_random_access(tmp_path: Path) -> None:
    out = str(tmp_path / "store")
    file = pairs_file(tmp_path / "pairs.parquet", 60)
    config = PrepareConfig(
        source="pairs",
        input=(file,),
        tokenizer="train:150",
        out=out,
        partitions=2,
        row_group_rows=7,
        max_bad_share=0.02,
    )
    assert prepare(config) == {"out": out, "streams": 2, "rows": 59, "quarantined": 1}
    store = StreamStore(out)
    assert store.manifest["counts"]["quarantined"] == {"query is empty": 1}
    (kept_apart,) = (tmp_path / "store" / "quarantine").iterdir()
    assert kept_apart.name == "part-00000.parquet"
    bad = pq.read_table(kept_apart).to_pylist()
    assert [(row["file"], row["row"], row["reason"]) for row in bad] == [(file, 3, "query is empty")]
    cross = next(n for n, stream in enumerate(store.streams) if stream.kind == "cross-lingual")
    assert store.streams[cross].languages == ("sw", "en")
    rows = np.array([29, 0, 13, 13, 7])
    picked = store.read(cross, rows, ["query", "passage", "negatives"])
    whole = store.read(cross, np.arange(30), ["query", "passage", "negatives"])
    assert picked.to_pylist() == [whole.slice(row, 1).to_pylist()[0] for row in rows]
    assert all(len(negatives) == 1 for negatives in whole["negatives"].to_pylist())
    assert prepare(config)["rows"] == 59  # a finished store is left as it is
    with pytest.raises(UserError, match="already holds another run: seed is 0 there and 5 here"):
        prepare(config.model_copy(update={"seed": 5}))


@pytest.mark.usefixtures("ray_cluster")
def test_mistakes_leave_no_store(tmp_path: Path) -> None:
    odd = tmp_path / "odd.parquet"
    columns = {"query": ["q", "q"], "query_lang": ["de", "qq-x"], "passage": ["p", "p"], "passage_lang": ["de", "de"]}
    pq.write_table(pa.table(columns), odd)
    good = pairs_file(tmp_path / "good.parquet", 50)
    settings = {"source": "pairs", "input": (f"a={good}", f"a={odd}"), "tokenizer": "train:150", "partitions": 1,
                "max_bad_share": 0.05}  # fmt: skip
    with pytest.raises(UserError, match=r"odd\.parquet row 1: unknown language tag 'qq-x' in query_lang"):
        prepare(PrepareConfig.model_validate({**settings, "out": str(tmp_path / "a")}))
    assert not (tmp_path / "a" / "manifest.json").exists()
    repaired = prepare(PrepareConfig.model_validate({**settings, "on_error": "skip", "out": str(tmp_path / "a")}))
    assert repaired["quarantined"] == 2
    skipped = prepare(PrepareConfig.model_validate({**settings, "on_error": "skip", "out": str(tmp_path / "b")}))
    assert skipped["rows"] == 50
    assert skipped["quarantined"] == 2
    with pytest.raises(UserError, match="no input at .*absent"):
        prepare(PrepareConfig.model_validate({**settings, "input": ("absent",), "out": str(tmp_path / "c")}))
    with pytest.raises(UserError, match="--source pears is unknown"):
        prepare(PrepareConfig.model_validate({**settings, "source": "pears", "out": str(tmp_path / "d")}))
    with pytest.raises(UserError, match="no tokenizer at .*nowhere"):
        prepare(PrepareConfig.model_validate({**settings, "tokenizer": "./nowhere", "out": str(tmp_path / "e")}))
    assert not (tmp_path / "e").exists()  # so the corrected command finds a free folder


@pytest.mark.usefixtures("ray_cluster")
def test_every_question_of_a_passage_is_kept(tmp_path: Path) -> None:
    questions = [{"id": "same", "q_lang": "de", "question": f"Frage {number}"} for number in range(5)]
    passages = [
        {"source": "s", "p_lang": "de", "passage": f"Absatz {n} von vielen", "qas": questions} for n in range(30)
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "p.jsonl").write_text("\n".join(map(json.dumps, passages)))
    result = prepare(
        PrepareConfig(source="jsonl", input=(f"{tmp_path}/in",), tokenizer="train:100", out=str(tmp_path / "store"))
    )
    assert (result["rows"], result["quarantined"]) == (150, 0)


def test_a_learned_vocabulary_depends_on_the_texts_alone() -> None:
    sample = [f"Satz {n} über {n * 7 % 100} Länder und Städte, страна {n}, 国 {n}" for n in range(2000)]
    one, two = tokenizer.learn(sample, 300), tokenizer.learn(sample, 300)
    assert tokenizer.tokenizer_fingerprint(one) == tokenizer.tokenizer_fingerprint(two)
    ids = one("Länder und страна")["input_ids"]
    assert (ids[0], ids[-1]) == (one.bos_token_id, one.eos_token_id)
    assert one.unk_token_id not in ids
    one.padding_side, one.model_max_length = "left", 7
    assert tokenizer.tokenizer_fingerprint(one) == tokenizer.tokenizer_fingerprint(two)


def test_what_the_user_has_in_the_output_stays(tmp_path: Path) -> None:
    """An input in `<out>/streams`, where a store's own files go."""
    source = pairs_file(tmp_path / "pairs.parquet", 4)
    for inside in ("streams", "work", "quarantine"):
        out = tmp_path / inside
        theirs = out / inside / "pairs.parquet"
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(Path(source).read_bytes())
        settings = {"source": "pairs", "tokenizer": "train:100", "out": str(out)}
        with pytest.raises(UserError, match=f"has {inside}, which is not of this job"):
            prepare(PrepareConfig.model_validate({**settings, "input": (source,)}))
        for named in (theirs, theirs.parent, out):
            with pytest.raises(UserError, match=r" (is|holds|lies in) the input "):
                prepare(PrepareConfig.model_validate({**settings, "input": (str(named),)}))
        assert theirs.read_bytes() == Path(source).read_bytes()
        assert sorted(path.name for path in out.iterdir()) == [inside]


@pytest.mark.usefixtures("ray_cluster")
def test_the_corrected_command_gets_the_folder(tmp_path: Path) -> None:
    good, bad = pairs_file(tmp_path / "good.parquet", 40), str(tmp_path / "bad.parquet")
    columns = pq.read_table(good).to_pydict()
    pq.write_table(pa.table({**columns, "query_lang": ["xx-none"] * 40}), bad)
    settings = {"source": "pairs", "tokenizer": "train:100", "out": str(tmp_path / "store"), "max_bad_share": 0.1}
    with pytest.raises(UserError, match="unknown language tag"):
        prepare(PrepareConfig.model_validate({**settings, "input": (bad,)}))
    assert prepare(PrepareConfig.model_validate({**settings, "input": (good,)}))["rows"] == 39
    with pytest.raises(UserError, match="seed is 0 there and 1 here; name another --out"):
        prepare(PrepareConfig.model_validate({**settings, "input": (good,), "seed": 1}))


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("group", ["none", "empty", "query"])
def test_several_answers_of_a_query_are_one_group(tmp_path: Path, group: str) -> None:
    rows = [(query, answer) for query in range(20) for answer in range(5)]
    columns = {
        "query": [f"question {query}" for query, _ in rows],
        "passage": [f"answer {answer} of {query}" for query, answer in rows],
        "query_lang": ["en"] * 100,
        "passage_lang": ["en"] * 100,
    }
    if group != "none":
        columns["group"] = [f"q{query}" if group == "query" else "" for query, _ in rows]
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    made = prepare(
        PrepareConfig(
            source="pairs", input=(f"{tmp_path}/pairs.parquet",), tokenizer="train:100", out=f"{tmp_path}/store"
        )
    )
    assert (made["rows"], made["quarantined"]) == (100, 0)
    store = StreamStore(made["out"])
    groups = store.read(0, np.arange(100), ["group"])["group"].to_pylist()
    queries = texts(store, 0, "query")
    assert len(set(groups)) == 20 and len(set(zip(groups, queries, strict=True))) == 20
    assert len(set(texts(store, 0, "passage"))) == 100


@pytest.mark.usefixtures("ray_cluster")
def test_the_same_bytes_in_another_folder_are_the_same_store(tmp_path: Path) -> None:
    hashes: set[str] = set()
    for folder in ("one", "two/de"):
        (tmp_path / folder).mkdir(parents=True)
        named = pairs_file(tmp_path / folder / f"{len(hashes)}.parquet", 60)
        settings = {"source": "pairs", "input": (named,), "tokenizer": "train:150", "max_bad_share": 0.02}
        made = prepare(PrepareConfig.model_validate({**settings, "out": f"{tmp_path}/{len(hashes)}"}))
        hashes.add(StreamStore(made["out"]).manifest["checksum"])
    assert len(hashes) == 1


@pytest.mark.usefixtures("ray_cluster")
def test_duplicates_are_counted_and_dropped_when_asked(tmp_path: Path) -> None:
    named = parallel_file(tmp_path / "a.parquet", range(0, 10))
    twice = pa.concat_tables([pq.read_table(named)] * 2)
    pq.write_table(twice, tmp_path / "twice.parquet")
    settings = {"source": "parallel", "input": (f"{tmp_path}/twice.parquet",), "tokenizer": "train:100"}
    for drop, rows in ((False, 50), (True, 25)):
        out = f"{tmp_path}/{drop}"
        made = prepare(PrepareConfig.model_validate({**settings, "drop_duplicates": drop, "out": out}))
        assert made["rows"] == rows
        assert StreamStore(out).manifest["counts"]["duplicates"] == 25


@pytest.mark.usefixtures("ray_cluster")
def test_too_many_bad_rows_stop_it_before_anything_is_committed(tmp_path: Path) -> None:
    file = tmp_path / "pairs.parquet"
    rows = {"query": [" " if n % 20 == 0 else f"q {n}" for n in range(200)], "passage": [f"p {n}" for n in range(200)]}
    rows["passage"][7] = ""
    pq.write_table(pa.table(rows), file)
    settings = {"input": f"{file}", "language": "de", "tokenizer": "train:100", "out": f"{tmp_path}/store"}
    line = (
        r"^11 of 200 rows are bad \(5\.5%; --max-bad-share is 1\.0%\), 10 of them: query is empty; they are in .*/qua"
    )
    with pytest.raises(UserError, match=line):
        prepare(PrepareConfig.model_validate(settings))
    assert not (tmp_path / "store" / "manifest.json").exists()
    bad = [row for path in (tmp_path / "store" / "quarantine").iterdir() for row in pq.read_table(path).to_pylist()]
    assert {(row["row"], row["reason"]) for row in bad} >= {(0, "query is empty"), (7, "passage is empty")}
    made = prepare(PrepareConfig.model_validate({**settings, "max_bad_share": 0.06}))
    assert (made["rows"], made["quarantined"]) == (189, 11)
    counts = StreamStore(made["out"]).manifest["counts"]["quarantined"]
    assert counts == {"query is empty": 10, "passage is empty": 1}


@pytest.mark.usefixtures("ray_cluster")
def test_the_store_says_what_it_is_made_of_whatever_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checksums = set()
    for place in ("here", "some where/else [1]"):
        folder = tmp_path / place
        (folder / "hub").mkdir(parents=True)
        texts = [f"{n} {'word ' * (50 if n % 5 == 0 else 2)}" for n in range(100)]
        pq.write_table(pa.table({"anchor": texts, "positive": texts[::-1]}), folder / "hub" / "train.parquet")
        (folder / "own.jsonl").write_text(
            '{"group": 1, "lang": "de", "text": "Haus"}\n{"group": 1, "lang": "en", "text": "house"}'
        )
        pq.write_table(pa.table({"query": texts, "passage": texts}), folder / "same.parquet")
        inputs = {
            "hub": {"uri": f"{folder}/hub", "language": "de", "split": "train"},
            "own": f"{folder}/own.jsonl",
            "same": {"uri": f"{folder}/same.parquet", "language": "sw"},
        }
        settings = {"input": inputs, "tokenizer": "train:100", "max_tokens": 30, "licenses": {"hub": "MIT"}}
        made = prepare(PrepareConfig.model_validate({**settings, "out": f"{folder}/store"}))
        manifest = StreamStore(made["out"]).manifest
        checksums.add(manifest["checksum"])
        card = manifest["inputs"]
        assert {name: (about["formats"], about["files"], about["rows"]) for name, about in card.items()} == {
            "hub": (["pairs"], 1, 100), "own": (["bitext"], 1, 2), "same": (["pairs"], 1, 100)
        }  # fmt: skip
        assert (card["hub"]["license"], card["hub"]["splits"], card["own"]["license"]) == ("MIT", ["train"], None)
        assert (card["hub"]["languages"], card["own"]["languages"]) == ({"de": 200}, {"de": 1, "en": 1})
        said = capsys.readouterr().err
        assert "warning: hub: 40 texts are longer than --max-tokens 30 and were cut there" in said
        assert "warning: same: in 100 of 100 rows the passage is the query" in said
        assert "hub: in " not in said and "own: in " not in said
    assert len(checksums) == 1
