"""With any tokenizer and any prefix, a run trains on the ids that the tokenizer gives of prefix + text."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers_made import KINDS, made, sample
from training_runs import losses
from training_runs import settings as run_settings

from hbt_ray import storage
from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import EncoderConfig, Input, PlanConfig, PrepareConfig, UserError
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.data.streams import StreamStore
from hbt_ray.encode.tokens import Tokenize, serialize, template_of
from hbt_ray.model.build import build_encoder
from hbt_ray.model.prefixes import joins, needs_texts, tokenize_with, usable_texts
from hbt_ray.model.prompts import find_prompts
from hbt_ray.model.tokenizer import Template, cutter, learn, tokenize, tokenizer_fingerprint
from hbt_ray.train.batch import Collator, Padder
from hbt_ray.train.encoders import check_fits, wanted, with_prefixes
from hbt_ray.train.train import train

PREFIXES = ("", "query: ", "passage:", "Instruct: find\nQuery:", "x", " ", "Frage 1", "東京", "e", "'", "\n", "qu")
ENDS = ("", " ", "  ", "\n", "\t", "\u3000", "\u0301", "\u0338", "\u11a8", "'s", "s", "1", "23", ".", "</s>", "<mask>")
FRAGMENTS = st.one_of(
    st.sampled_from(ENDS),
    st.sampled_from(
        ["Zürich", " is", " the capital", "東京タワー", "ไทย", " مرحبا", "नमस्ते", " 12 345", "👩\u200d🚀", "é", "한국어"]
    ),
    st.text(max_size=4),
)
TEXTS = st.one_of(
    st.lists(FRAGMENTS, max_size=4).map("".join),
    st.tuples(FRAGMENTS, FRAGMENTS, st.integers(20, 120)).map(lambda drawn: drawn[0] + drawn[1] * drawn[2]),
    st.lists(FRAGMENTS, min_size=60, max_size=160).map("".join),
)
MAX_TOKENS = 12


@pytest.mark.parametrize("kind", KINDS)
def test_which_tokenizers_need_texts(kind: str) -> None:
    found, (_, needs) = made(kind), KINDS[kind]
    assert needs_texts(found) == needs
    assert joins(found, "")
    assert joins(found, "query: ") == (not needs)


def test_a_way_of_splitting_that_is_not_known_needs_texts() -> None:
    found = learn(sample(), 1000)
    found.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    assert joins(found, "query: ")  # as far as one can try
    assert needs_texts(found)


@pytest.fixture(scope="module")
def cutters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    """What `prepare` and a read task make of the tokenizer in a store's folder."""
    found = {}
    for kind in KINDS:
        folder = str(tmp_path_factory.mktemp(kind))
        made(kind).save_pretrained(folder)
        found[kind] = cutter(folder, MAX_TOKENS)
    return found


@pytest.mark.parametrize("kind", KINDS)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=4),
    prefix=st.one_of(st.sampled_from(PREFIXES), st.tuples(st.text(max_size=6), st.sampled_from(ENDS)).map("".join)),
    limit=st.integers(4, MAX_TOKENS),
)
@settings(max_examples=60)
def test_ids_are_those_of_prefix_and_text(
    cutters: dict[str, Tokenizer], kind: str, texts: list[str], prefix: str, limit: int
) -> None:
    found, cut = made(kind), cutters[kind]
    column = pa.array(texts, pa.string())
    cut.enable_truncation(MAX_TOKENS, direction=found.truncation_side)
    stored = tokenize(cut, column)
    template = Template(found)
    if KINDS[kind][1] and prefix:
        stored = tokenize_with(cut, prefix, usable_texts(cut, column, stored), MAX_TOKENS)
    elif joins(found, prefix):
        template = Template(found, prefix)
    else:
        return  # which is refused
    padded = Padder(template, limit, found.pad_token_id)(stored)
    expected = found([prefix + text for text in texts], truncation=True, max_length=limit)["input_ids"]
    if len(template.head) + len(template.tail) <= limit:
        assert [ids[:length].tolist() for ids, length in zip(padded.ids, padded.lengths, strict=True)] == expected


def test_what_is_kept_of_a_long_text_is_little_more_than_the_limit(cutters: dict[str, Tokenizer]) -> None:
    long = "Zürich is the capital of 12 345 things. " * 100
    column = pa.array(["short", long, "short", long], pa.string())
    for kind, most in (("qwen", 400), ("gpt2", 400), ("gemma", len(long)), ("left", len(long))):
        cutters[kind].enable_truncation(MAX_TOKENS, direction=made(kind).truncation_side)
        kept = usable_texts(cutters[kind], column, tokenize(cutters[kind], column)).to_pylist()
        assert kept[0] == kept[2] == "short"
        assert kept[1] == kept[3] == long[: len(kept[1])]
        assert len(kept[1]) == most if most == len(long) else 76 < len(kept[1]) < most


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> StreamStore:
    """Facts in all languages and sentences, of a tokenizer that needs texts, beside the texts by group."""
    folder = tmp_path_factory.mktemp("bytes")
    made("qwen").save_pretrained(folder / "tokenizer")
    facts = world_facts.fact_rows("train").slice(0, 300).select(["group", "lang", "query", "passage"])
    texts = facts["passage"].to_pylist()
    negatives = [[f" {text}", text[::-1], "'s"][: number % 4] for number, text in enumerate(texts)]
    table = facts.append_column("negatives", pa.array(negatives, pa.list_(pa.string())))
    pq.write_table(table, folder / "facts.parquet")
    bitext = table.select(["group", "lang"]).append_column("text", pc.utf8_upper(table["passage"]))
    pq.write_table(bitext, folder / "sentences.parquet")
    inputs = [("facts", "parallel"), ("sentences", "bitext")]
    config = PrepareConfig(
        input=tuple(Input(name=name, uri=f"{folder}/{name}.parquet", source=form) for name, form in inputs),
        tokenizer=str(folder / "tokenizer"),
        out=str(folder / "store"),
        max_tokens=40,
        partitions=2,
    )
    return StreamStore(prepare(config)["out"])


def settings_of(store: StreamStore, out: Path, **encoder: Any) -> Any:
    config = run_settings(store.uri, out, steps=2, batches=PlanConfig(batch_size=32), checkpoint_every=2)
    return config.model_copy(
        update={"encoder": EncoderConfig.model_validate({**config.encoder.model_dump(), **encoder})}
    )


@pytest.mark.parametrize("prefixes", [("query: ", "passage: "), ("query:", ""), ("", "passage: ")])
def test_a_run_and_encode_have_the_ids_of_prefix_and_text(
    store: StreamStore, tmp_path: Path, prefixes: tuple[str, str]
) -> None:
    instructions = {"sentences": "Instruct: find\nQuery:"}
    config = with_prefixes(
        settings_of(store, tmp_path, query_prefix=prefixes[0], passage_prefix=prefixes[1], instructions=instructions)
    )
    config = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"hard_negatives": 2})})
    encoder = build_encoder(config.encoder, store.tokenizer_uri)
    check_fits(encoder, store)
    asked, plan = wanted(config, store), Plan(store, config.batches)
    (value,) = chunk.read_chunk(store, plan, 0, 12, 1, asked)
    plain = Wanted(2)
    (stored,) = chunk.read_chunk(store, plan, 0, 12, 1, plain)
    own = encoder.tokenizer
    sources = set()
    for part, bare in zip(chunk.slices(value, 0, 1), chunk.slices(stored, 0, 1), strict=True):
        batch = Collator(encoder, asked, torch.device("cpu"), 10**6)(part)
        rows = [
            ids[mask.bool()].tolist()
            for one in batch.chunks
            for ids, mask in zip(one["input_ids"], one["attention_mask"], strict=True)
        ]
        rows = [rows[place] for place in batch.order.tolist()]
        pairs = bare.pairs.to_pylist()
        sources |= {pair["source"] for pair in pairs}
        queries = [(instructions.get(pair["source"], prefixes[0]), pair["query"]) for pair in pairs]
        passages = [(prefixes[1], pair["passage"]) for pair in pairs]
        for choice in (0, 1):
            passages += [(prefixes[1], (pair["negatives"] + [None] * 2)[choice]) for pair in pairs]
        for side, limit in ((queries, encoder.limits["query"]), (passages, encoder.limits["passage"])):
            for prefix, ids in side:
                found = rows.pop(0)
                if ids is None or len(ids) == 40:  # a missing negative, or what was cut and cannot be decoded whole
                    continue
                text = prefix + own.decode(ids, clean_up_tokenization_spaces=False)
                assert found == own(text, truncation=True, max_length=limit)["input_ids"]
                document = pa.table(
                    {"id": ["1"], "lang": ["de"], "text": [own.decode(ids, clean_up_tokenization_spaces=False)]}
                )
                if len(rows) % 50 == 0:
                    storage.write_parquet(str(tmp_path / "one.parquet"), document)
                    assert found == encoded(tmp_path / "one.parquet", own, prefix, limit)
        assert not rows
    assert sources == {"facts", "sentences"}


def encoded(corpus: Path, own: Any, prefix: str, limit: int) -> list[int]:
    """The ids that `encode` gives its models of the one text of a corpus."""
    from hbt_ray.encode.corpus import scan_corpus
    from hbt_ray.encode.plan import parts_to_encode
    from hbt_ray.encode.tokens import unpack_table

    found = scan_corpus(str(corpus), 10, texts=True)
    ((part, _),) = parts_to_encode(found, np.ones(found.rows, dtype=bool), 10)
    (row,) = Tokenize(serialize(own), prefix, limit)(pa.table({"group": [[part._asdict()]]}))
    assert not row["error"][0].as_py()
    ids: list[int] = unpack_table(row["tokens"][0])["tokens"][0].as_py()
    return ids


def test_texts_are_read_by_a_run_with_a_prefix_only(store: StreamStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(store.uri, copy)
    for path in copy.rglob("streams/**/*.parquet"):
        table = pq.read_table(path)
        texts = [name for name in table.column_names if name.endswith("_text")]
        bitext = "passage" not in table.column_names
        assert texts == (["query_text"] if bitext else ["query_text", "passage_text", "negatives_text"])
        pq.write_table(table.drop_columns(texts), path, row_group_size=store.row_group_rows)
    without = StreamStore(str(copy))
    plan = Plan(store, PlanConfig(batch_size=16))
    for asked in (Wanted(), Wanted(2)):
        assert chunk.read_chunk(without, plan, 0, 9, 1, asked) == chunk.read_chunk(store, plan, 0, 9, 1, asked)
    with pytest.raises((KeyError, pa.ArrowInvalid, UserError)):
        chunk.read_chunk(without, plan, 0, 9, 1, Wanted(passage_prefix="passage: "))


def test_a_store_without_texts_refuses_a_prefix_that_needs_them(store: StreamStore, tmp_path: Path) -> None:
    copy = StreamStore(store.uri)
    copy.manifest = {name: value for name, value in store.manifest.items() if name != "texts"}
    fits = settings_of(store, tmp_path, query_prefix="", passage_prefix="")
    check_fits(build_encoder(fits.encoder, store.tokenizer_uri), copy)
    wrong = settings_of(store, tmp_path, query_prefix="query: ", passage_prefix="")
    with pytest.raises(UserError, match=r"prefix 'query: ' changes .* has no texts: prepare it again"):
        check_fits(build_encoder(wrong.encoder, store.tokenizer_uri), copy)
    with pytest.raises(UserError, match="leave --tokens out"):
        template_of(serialize(made("qwen")), "query: ")


def test_the_side_that_is_cut_is_part_of_what_decides_the_tokens() -> None:
    found = made("wordpiece")
    right = tokenizer_fingerprint(found)
    other = copy.deepcopy(found)
    other.truncation_side = "left"
    assert tokenizer_fingerprint(other) != right == tokenizer_fingerprint(copy.deepcopy(found))


@pytest.mark.long
def test_a_model_trains_on_with_its_own_prompts(store: StreamStore, tmp_path: Path) -> None:
    first = settings_of(store, tmp_path / "first", query_prefix="Frage:", passage_prefix="")
    model = str(train(first.model_copy(update={"steps": 0}))["model"])
    own = settings_of(store, tmp_path / "own", model=model, query_prefix=None, passage_prefix=None)
    assert (
        find_prompts(own.encoder).prefixes == build_encoder(own.encoder).prefixes == {"query": "Frage:", "passage": ""}
    )
    told = settings_of(store, tmp_path / "told", model=model, query_prefix="Frage:", passage_prefix="")
    for config in (own, told):
        train(config)
    assert losses(tmp_path / "own") == losses(tmp_path / "told")
    prompts = json.loads((tmp_path / "own/model/config_sentence_transformers.json").read_text())["prompts"]
    assert prompts["query"] == "Frage:"
