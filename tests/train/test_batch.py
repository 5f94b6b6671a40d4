"""Slices become the tensors the model's own tokenizer would have made of the texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from hbt_ray.batches.chunk import Slice
from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import EncoderConfig, InfoNCEConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.model import tokenizer
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder, Role
from hbt_ray.train.batch import Batch, Collator
from hbt_ray.train.losses.right_answers import NO_PASSAGE


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:300:7]]


@pytest.fixture(scope="module")
def encoder(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.learn([f"query: passage: {text}" for text in texts * 20], 400).save_pretrained(folder)
    return build_encoder(EncoderConfig(model="tiny", max_query_tokens=12, max_passage_tokens=40), folder)


def part(encoder: Encoder, texts: list[str], negatives: list[list[str]]) -> Slice:
    def tokens(rows: list[str]) -> list[list[int]]:
        return encoder.tokenizer(rows, add_special_tokens=False)["input_ids"] if rows else []

    pairs = pa.table(
        {
            "group": pa.array(range(len(texts)), pa.int64()),
            "query": pa.array(tokens([text[::-1] for text in texts]), pa.list_(pa.int32())),
            "passage": pa.array(tokens(texts), pa.list_(pa.int32())),
            "negatives": pa.array([tokens(rows) for rows in negatives], pa.list_(pa.list_(pa.int32()))),
        }
    )
    return Slice(0, "mono:de", {}, {}, pairs)


def collate(encoder: Encoder, part: Slice, hard_negatives: int = 0, chunk_tokens: int = 10**6) -> Batch:
    return Collator(encoder, Wanted(hard_negatives), torch.device("cpu"), chunk_tokens)(part)


def shown(batch: Batch) -> list[list[int]]:
    """The token ids of every text of the batch, without padding, in the batch's order."""
    rows = [
        row[mask.bool()].tolist()
        for chunk in batch.chunks
        for row, mask in zip(chunk["input_ids"], chunk["attention_mask"], strict=True)
    ]
    return [rows[place] for place in batch.order.tolist()]


def test_tensors_are_those_of_the_tokenizer(encoder: Encoder, texts: list[str]) -> None:
    whole = part(encoder, texts, [[] for _ in texts])
    for start, stop in ((0, len(texts)), (5, 17), (3, 4)):  # a slice of a chunk begins anywhere in its columns
        batch = collate(encoder, whole._replace(pairs=whole.pairs.slice(start, stop - start)))
        roles: dict[Role, list[str]] = {"query": [text[::-1] for text in texts], "passage": texts}
        for chunk, (role, rows) in zip(batch.chunks, roles.items(), strict=True):
            expected = encoder.pad(encoder.tokenize(rows[start:stop], role))
            for name, tensor in expected.items():
                assert torch.equal(chunk[name], tensor)
        assert batch.order.tolist() == list(range(2 * (stop - start)))
        assert batch.labels.groups.tolist() == list(range(start, stop))
    assert (np.array([len(ids) for ids in encoder.tokenize(texts, "passage")]) == 40).any()  # some were cut


def test_keys_are_equal_for_equal_passages_only(encoder: Encoder, texts: list[str]) -> None:
    distinct = sorted(set(texts))
    once = collate(encoder, part(encoder, distinct, [[] for _ in distinct])).labels.keys
    assert len(set(once.tolist())) == len(distinct)
    again = [*distinct[3:], *distinct]
    twice = collate(encoder, part(encoder, again, [[] for _ in again])).labels.keys
    assert twice.tolist()[len(distinct) - 3 :] == once.tolist()
    assert twice.tolist()[: len(distinct) - 3] == once.tolist()[3:]


def test_keys_of_queries_are_equal_for_equal_queries_whatever_stands_before_them(
    encoder: Encoder, texts: list[str]
) -> None:
    """Also of queries longer than their limit, with instructions of sources, and where tokens begin with them."""
    distinct = sorted(set(texts))
    rows = [*distinct, *distinct[::-1], ""]
    whole = part(encoder, rows, [[]] * len(rows))
    plain = collate(encoder, whole).labels.query_keys.tolist()
    assert len(set(plain)) == len(distinct) + 1
    assert plain[: len(distinct)] == plain[len(distinct) : -1][::-1]

    prefixes = {"faq": "passage: query: ", "news": "query: "}
    sources = [("faq", "news", "other")[row % 3] for row in range(len(rows))]
    tokens = [
        encoder.tokenizer(prefixes.get(source, "") + text[::-1], add_special_tokens=False)["input_ids"]
        for source, text in zip(sources, rows, strict=True)
    ]
    pairs = whole.pairs.set_column(1, "query", pa.array(tokens, pa.list_(pa.int32())))
    pairs = pairs.append_column("source", pa.array(sources).dictionary_encode())
    with_prefixes = whole._replace(pairs=pairs.slice(2))  # a slice of a chunk begins anywhere in its columns
    read = Wanted(query_prefixes=prefixes)
    found = Collator(encoder, read, torch.device("cpu"), 10**6)(with_prefixes).labels.query_keys.tolist()
    assert found == plain[2:]


def test_scores_stand_beside_their_passages(encoder: Encoder, texts: list[str]) -> None:
    negatives = [[], [texts[9]], [texts[10], texts[11]], [texts[12]]]
    whole = part(encoder, texts[:4], negatives)
    scores = pa.array([[1.0], [2.0, 0.5], [3.0, 0.25, 0.125], []], pa.list_(pa.float32()))
    whole = whole._replace(pairs=whole.pairs.append_column("scores", scores).slice(1))
    found = Collator(encoder, Wanted(2, scores=True), torch.device("cpu"), 10**6)(whole).labels.scores
    assert found is not None
    assert found.nan_to_num(-9).tolist() == [[2, 0.5, -9], [3, 0.25, 0.125], [-9, -9, -9]]


def test_losses_weigh_rows_by_source(encoder: Encoder, texts: list[str]) -> None:
    whole = part(encoder, texts[:3], [[]] * 3)
    whole = whole._replace(pairs=whole.pairs.append_column("source", pa.array(["faq", "news", "faq"])))
    losses = (InfoNCEConfig(weight=2.0, sources=("faq",)), InfoNCEConfig())
    found = Collator(encoder, Wanted(), torch.device("cpu"), 10**6, losses=losses)(whole).labels.weights
    assert found is not None and found.tolist() == [[2, 0, 2], [1, 1, 1]]
    assert collate(encoder, whole).labels.weights is None


def test_hard_negatives_may_be_missing(encoder: Encoder, texts: list[str]) -> None:
    negatives = [[], [texts[9]], [texts[10], texts[11]]]
    keys = collate(encoder, part(encoder, texts, [[] for _ in texts])).labels.keys.tolist()
    passages = dict(zip(texts, keys, strict=True))
    batch = collate(encoder, part(encoder, texts[:3], negatives), 2)
    first, second = [passages[texts[9]], passages[texts[10]]], [NO_PASSAGE, passages[texts[11]]]
    assert batch.labels.keys.tolist()[3:] == [NO_PASSAGE, *first, NO_PASSAGE, *second]
    passage_texts = [*texts[:3], "", texts[9], texts[10], "", "", texts[11]]
    assert shown(batch)[3:] == [row.tolist() for row in encoder.tokenize(passage_texts, "passage")]


def test_no_negatives_anywhere(encoder: Encoder, texts: list[str]) -> None:
    batch = collate(encoder, part(encoder, texts[:4], [[]] * 4), 1)
    assert batch.labels.keys.tolist()[4:] == [NO_PASSAGE] * 4


def test_queries_of_a_source_get_its_instruction(encoder: Encoder, texts: list[str]) -> None:
    whole = part(encoder, texts[:6], [[]] * 6)
    sources = ["faq", "other", "faq", "news", "other", "news"]
    whole = whole._replace(pairs=whole.pairs.append_column("source", pa.array(sources)))
    prefixes = {"faq": "passage: query: ", "news": ""}
    encoder.instructions = prefixes
    try:
        found = shown(collate(encoder, whole))[:6]
    finally:
        encoder.instructions = {}
    for ids, source, text in zip(found, sources, texts, strict=False):
        expected = encoder.tokenizer(
            prefixes.get(source, "query: ") + text[::-1], truncation=True, max_length=encoder.limits["query"]
        )
        assert ids == expected["input_ids"]


def test_chunks_hold_every_text_and_little_padding(encoder: Encoder, texts: list[str]) -> None:
    one = part(encoder, texts, [[texts[0]] for _ in texts])
    whole, cut = collate(encoder, one, 1), collate(encoder, one, 1, chunk_tokens=100)
    assert len(whole.chunks) == 2
    assert all(chunk["input_ids"].numel() <= 100 for chunk in cut.chunks)
    assert shown(cut) == shown(whole)
    assert cut.labels.keys.tolist() == whole.labels.keys.tolist()
    lengths = [len(row) for row in shown(cut)]
    assert (cut.tokens, cut.squares) == (sum(lengths), sum(length**2 for length in lengths))
    assert cut.tokens < cut.computed < whole.computed
    assert len({chunk["seed"] for chunk in cut.chunks}) == len(cut.chunks)
