"""Encoding: ours and SentenceTransformer.encode on the same texts, weights, precision and threads, in turn."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.benchmarks.memory import Watch, megabytes
from hbt_ray.benchmarks.settings import EncodeBenchmark
from hbt_ray.config import EncodeConfig, EncoderConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.encode.encode import encode_corpus
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.evaluation import tasks
from hbt_ray.evaluation.tasks.base import CorpusAt
from hbt_ray.model import tokenizer
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder

log = logging.getLogger(__name__)


def measure(config: EncodeBenchmark) -> dict[str, Any]:
    """Texts/s of both, their ratio, and the largest difference between the vectors; `xquad_r` has the same of its
    candidates, `peak_memory_mib` the memory of all processes by size of the corpus.

    Raises:
        UserError: XQuAD-R is named and not there.
    """
    found = _compare(config, _texts(config.texts))
    if config.xquad_r is not None:
        documents = tasks.load_task("xquad-r", config.xquad_r).documents
        assert not isinstance(documents, CorpusAt)
        candidates = documents["text"].to_pylist()
        some = np.random.default_rng(0).permutation(len(candidates))[: config.texts]
        found["xquad_r"] = _compare(config, [candidates[i] for i in some])
    if config.memory_texts:
        _peak(min(config.memory_texts))  # Ray's workers start
        found["peak_memory_mib"] = {str(count): megabytes(_peak(count)) for count in config.memory_texts}
    return found


def _peak(count: int) -> int:
    """Of all processes, Ray's included, while `encode` runs on a corpus of that many texts [bytes]."""
    facts = world_facts.fact_rows("train").select(["lang", "passage"]).rename_columns(["lang", "text"])
    facts = pa.concat_tables([facts] * -(-count // len(facts))).slice(0, count)
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        corpus, model = storage.join(folder, "corpus.parquet"), storage.join(folder, "model")
        made_encoder("tiny", facts["text"].slice(0, 1000).to_pylist()).export(model)
        storage.write_parquet(corpus, facts.add_column(0, "id", pa.array(map(str, range(count)), pa.string())))
        with Watch() as watch:
            encode_corpus(
                EncodeConfig(corpus=corpus, out=storage.join(folder, "out"), encoder=EncoderConfig(model=model))
            )
    log.info("%s texts: at most %.0f MiB", f"{count:,}", megabytes(watch.peak))
    return watch.peak


def _compare(config: EncodeBenchmark, texts: list[str]) -> dict[str, Any]:
    encoder = made_encoder(config.model, texts)
    peer = encoder.model
    ours_s, peer_s = [], []
    for repeat in range(config.repeats):
        ours_s.append(_seconds(lambda: encode_texts(encoder, texts, "passage", config.batch_tokens)))
        peer_s.append(_seconds(lambda: peer.encode(texts, batch_size=config.batch_size, prompt_name="passage")))
        log.info("%d/%d: ours %.2f s, peer %.2f s", repeat + 1, config.repeats, ours_s[-1], peer_s[-1])
    difference = np.abs(
        encode_texts(encoder, texts[:50], "passage", config.batch_tokens)
        - peer.encode(texts[:50], prompt_name="passage")
    ).max()
    ours, theirs = len(texts) / statistics.median(ours_s), len(texts) / statistics.median(peer_s)
    return {
        "texts": len(texts),
        "ours_texts_per_s": round(ours, 1),
        "peer": "SentenceTransformer.encode",
        "peer_texts_per_s": round(theirs, 1),
        "ratio": round(ours / theirs, 3),
        "largest_difference": float(difference),
    }


def _texts(count: int) -> list[str]:
    """Passages of mixed length in twelve languages: the n-th joins 1 to 12 facts."""
    facts = world_facts.fact_rows("train")["passage"].to_pylist()
    chance = np.random.default_rng(0)
    return [" ".join(chance.choice(facts, size=length)) for length in chance.integers(1, 13, size=count)]


def made_encoder(size: str, texts: list[str]) -> Encoder:
    """An encoder of random weights, whose vocabulary is learned from the texts."""
    learned = tokenizer.learn(texts[:1000], 6000)
    with tempfile.TemporaryDirectory() as folder:
        learned.save_pretrained(folder)
        encoder = build_encoder(EncoderConfig(model=size, precision="fp32"), folder).eval()
    encoder.model.prompts = dict(encoder.prefixes)
    return encoder


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
