"""sentence-transformers' batch samplers and collator, in as many processes as ours has consumers.

It keeps texts and tokenises them in the collator, so the stored token ids are decoded first.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from itertools import islice

import ray
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch.utils.data import DataLoader, RandomSampler

from hbt_ray.benchmarks import store
from hbt_ray.benchmarks.settings import ShufflerBenchmark
from hbt_ray.config import EncoderConfig
from hbt_ray.data.streams import StreamStore
from hbt_ray.model.build import build_encoder

NAME = "SentenceTransformerDataCollator over datasets.Dataset, as its trainer loads batches"
SHARE = 5  # of the pairs it is measured on: it is slow


def measure(uri: str, count: int, config: ShufflerBenchmark) -> dict[str, float] | None:
    """Pairs/s of all processes together on a fifth of the first `count` pairs of the store, by batch sampler; None when
    `datasets` is not installed."""
    if find_spec("datasets") is None:
        return None
    task, pairs = ray.remote(num_cpus=0)(_rank), max(count // SHARE, 2 * config.batch_size)
    ranks = [task.remote(uri, pairs, rank, config) for rank in range(config.consumers)]
    found: list[dict[str, float]] = ray.get(ranks)
    return {name: sum(one[name] for one in found) for name in found[0]}


def _rank(uri: str, count: int, rank: int, config: ShufflerBenchmark) -> dict[str, float]:
    """Pairs/s of one process by sampler: every `config.consumers`-th pair is its own."""
    from datasets import Dataset

    torch.set_num_threads(1)
    opened = StreamStore(uri)
    model = build_encoder(EncoderConfig(model="tiny"), opened.tokenizer_uri).model
    texts: dict[str, list[str]] = {"query": [], "passage": []}
    for both in store.pairs(opened, count):
        for role, ids in zip(texts, both, strict=True):
            texts[role] += model.tokenizer.batch_decode(ids[rank :: config.consumers])
    dataset = Dataset.from_dict(texts)
    rows = config.batch_size // config.consumers
    chance = torch.Generator()
    samplers = {
        "default": DefaultBatchSampler(RandomSampler(dataset, generator=chance), batch_size=rows, drop_last=True),
        "no_duplicates": NoDuplicatesBatchSampler(dataset, batch_size=rows, drop_last=True, generator=chance),
    }
    collate = SentenceTransformerDataCollator(
        preprocess_fn=model.preprocess, prompts={"query": "query: ", "passage": "passage: "}
    )
    found = {}
    for name, sampler in samplers.items():
        batches = iter(DataLoader(dataset, batch_sampler=sampler, collate_fn=collate))
        next(batches)
        begun, pairs = time.perf_counter(), 0
        for batch in islice(batches, len(dataset) // rows - 1):
            pairs += len(batch["query_input_ids"])
        found[name] = pairs / max(time.perf_counter() - begun, 1e-9)
    return found
