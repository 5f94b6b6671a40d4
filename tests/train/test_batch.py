"""Slices become the tensors the model's own tokenizer would have made of the texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from hbt_ray.batches.chunk import Slice
from hbt_ray.config import EncoderConfig
from hbt_ray.data import tokenizer
from hbt_ray.data.sources import world_facts
from hbt_ray.train.batch import Collator
from hbt_ray.train.encoder import Encoder, build
from hbt_ray.train.loss import NO_PASSAGE


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [str(text) for text in world_facts.rows("train")["passage"].to_pylist()[:300:7]]


@pytest.fixture(scope="module")
def encoder(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    tokenizer.learn([f"query: passage: {text}" for text in texts * 20], 400).save_pretrained(folder)
    return build(EncoderConfig(model="tiny", max_query_tokens=12, max_passage_tokens=40), folder)


def part(encoder: Encoder, texts: list[str], negatives: list[list[str]], step: int = 0) -> Slice:
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
    return Slice(step, "mono:de", {}, {}, pairs)


def test_tensors_are_those_of_the_tokenizer(encoder: Encoder, texts: list[str]) -> None:
    whole = part(encoder, texts, [[] for _ in texts])
    for start, stop in ((0, len(texts)), (5, 17), (3, 4)):  # a slice of a chunk begins anywhere in its columns
        inputs = Collator(encoder, 0, torch.device("cpu"))(whole._replace(pairs=whole.pairs.slice(start, stop - start)))
        for role, rows in (("query", [text[::-1] for text in texts]), ("passage", texts)):
            expected = encoder.pad(encoder.tokenize(rows[start:stop], role))
            for name, tensor in expected.items():
                assert torch.equal(inputs[role][name], tensor)
        assert inputs["groups"].tolist() == list(range(start, stop))
    assert (np.array([len(ids) for ids in encoder.tokenize(texts, "passage")]) == 40).any()  # some were cut


def test_keys_are_equal_for_equal_passages_only(encoder: Encoder, texts: list[str]) -> None:
    distinct = sorted(set(texts))
    once = Collator(encoder, 0, torch.device("cpu"))(part(encoder, distinct, [[] for _ in distinct]))["keys"]
    assert len(set(once.tolist())) == len(distinct)
    again = [*distinct[3:], *distinct]
    twice = Collator(encoder, 0, torch.device("cpu"))(part(encoder, again, [[] for _ in again]))["keys"]
    assert twice.tolist()[len(distinct) - 3 :] == once.tolist()
    assert twice.tolist()[: len(distinct) - 3] == once.tolist()[3:]


def test_hard_negatives_take_turns_and_may_be_missing(encoder: Encoder, texts: list[str]) -> None:
    negatives = [[], [texts[9]], [texts[10], texts[11], texts[12]]]
    collate = Collator(encoder, 2, torch.device("cpu"))
    passages = {
        text: key
        for text, key in zip(
            texts,
            Collator(encoder, 0, torch.device("cpu"))(part(encoder, texts, [[] for _ in texts]))["keys"].tolist(),
            strict=True,
        )
    }
    for step, third in enumerate([(10, 11), (11, 12), (12, 10)]):
        inputs = collate(part(encoder, texts[:3], negatives, step))
        expected = [
            NO_PASSAGE,
            passages[texts[9]],
            passages[texts[third[0]]],
            NO_PASSAGE,
            NO_PASSAGE,
            passages[texts[third[1]]],
        ]
        assert inputs["keys"].tolist()[3:] == expected
        shown = encoder.pad(
            encoder.tokenize([*texts[:3], "", texts[9], texts[third[0]], "", "", texts[third[1]]], "passage")
        )
        assert torch.equal(inputs["passage"]["attention_mask"], shown["attention_mask"])
        assert torch.equal(inputs["passage"]["input_ids"], shown["input_ids"])


def test_no_negatives_anywhere(encoder: Encoder, texts: list[str]) -> None:
    inputs = Collator(encoder, 1, torch.device("cpu"))(part(encoder, texts[:4], [[]] * 4))
    assert inputs["keys"].tolist()[4:] == [NO_PASSAGE] * 4
