"""Training: our loop on Ray and DeepSpeed, the same steps in bare torch, and sentence-transformers' trainer with
CachedMultipleNegativesRankingLoss: the same weights, texts, batch, lengths and precision, in one run."""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray.benchmarks.settings import TrainBenchmark
from hbt_ray.config import EncoderConfig, EngineConfig, OptimizerConfig, PlanConfig, PrepareConfig, TrainConfig
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.model.build import build_encoder
from hbt_ray.train import runlog
from hbt_ray.train.train import train

PIECES = 6000  # of the vocabulary
SPREAD = 0.5  # of the logarithm of the lengths
log = logging.getLogger(__name__)


def measure(config: TrainBenchmark) -> dict[str, Any]:
    """Pairs/s of each, ratios, what a step does by count, and the peak memory of a worker by batch [GiB].

    Of several workers, the peer is one of ours: other trainers run in one process here.
    """
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        run = _settings(config, folder)
        ways: dict[str, list[float]] = {}
        last: dict[str, Any] = {}
        for number in range(config.rounds):
            for way, gradcache in (("gradcache", True), ("plain", False)):
                last = _ours(run, f"{folder}/{way}-{number}", gradcache)
                ways.setdefault(f"ours, {way}", []).append(last["pairs_per_s"])
            for way, speed in _peers(config, run, f"{folder}/one-{number}"):
                ways.setdefault(way, []).append(speed)
            log.info("%s", {way: round(found[-1], 2) for way, found in ways.items()})
        counts = json.loads(_apart("step_counts", run))
        memory = {size: _memory(run, f"{folder}/memory-{size}", size) for size in config.memory_batches}
    speeds = {way: statistics.median(found) for way, found in ways.items()}
    ours = speeds["ours, gradcache"]
    peers = [speed for way, speed in speeds.items() if way.startswith("sentence-transformers")]
    if config.workers > 1:
        ratios = {"one worker": ours / speeds["ours, one worker"]}
    else:
        ratios = {"bare torch": ours / speeds["bare torch, gradcache"]}
    if peers:
        ratios |= {"sentence-transformers, default": ours / peers[0], "sentence-transformers, best": ours / max(peers)}
    return {
        "ours_pairs_per_s": round(ours, 2),
        "peer": "SentenceTransformerTrainer with CachedMultipleNegativesRankingLoss, and our steps in bare torch",
        "pairs_per_s": {way: round(speed, 2) for way, speed in speeds.items()},
        "pairs_per_s_by_round": {way: [round(one, 2) for one in found] for way, found in ways.items()},
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "padding": round(last["padding"], 4),
        "step": counts,
        **({"mfu_plain": round(last["mfu"], 4)} if "mfu" in last else {}),
        "memory_gib": memory,
    }


def _peers(config: TrainBenchmark, run: TrainConfig, out: str) -> Iterator[tuple[str, float]]:
    """Each way that ours is compared with, and its pairs/s."""
    if config.workers > 1:
        alone = run.model_copy(update={"workers": 1})
        yield "ours, one worker", _ours(alone, out, gradcache=True)["pairs_per_s"]
        return
    yield "bare torch, gradcache", float(_apart("bare_train", run))
    if all(find_spec(name) for name in ("accelerate", "datasets")):  # which its trainer needs
        for tokens in (None, *config.peer_tokens):
            way = f"sentence-transformers, mini_batch_{f'num_tokens={tokens}' if tokens else 'size=32'}"
            yield way, float(_apart("sentence_train", run, {"tokens": tokens}))


def _settings(config: TrainBenchmark, folder: str) -> TrainConfig:
    """Write pairs and prepare them; returns how ours trains on them."""
    count = config.batch_size * (config.steps + 1)
    chance = np.random.default_rng(0)
    facts = " ".join(str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()).split()
    texts = [
        [" ".join(chance.choice(facts, size=length)) for length in _lengths(chance, mean, count)]
        for mean in (config.query_tokens, config.passage_tokens)
    ]
    languages = pa.array(["en"] * count)
    columns = {"query": texts[0], "query_lang": languages, "passage": texts[1], "passage_lang": languages}
    pq.write_table(pa.table(columns), f"{folder}/pairs.parquet")
    prepare(
        PrepareConfig(
            source="pairs", input=(f"{folder}/pairs.parquet",), tokenizer=f"train:{PIECES}", out=f"{folder}/store"
        )
    )
    encoder = EncoderConfig(
        model=config.model,
        max_query_tokens=config.max_tokens,
        max_passage_tokens=config.max_tokens,
        query_prefix="",
        passage_prefix="",
        precision=config.precision,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        attention=config.attention,
    )
    model = f"{folder}/model"
    build_encoder(encoder, f"{folder}/store/tokenizer").export(model)
    return TrainConfig(
        data=f"{folder}/store",
        out=folder,
        steps=config.steps,
        workers=config.workers,
        cpus_per_worker=1 if config.gpus else max(1, (os.cpu_count() or 1) // config.workers),
        gpus_per_worker=config.gpus,
        checkpoint_every=config.steps + 1,
        encoder=encoder.model_copy(update={"model": model}),
        batches=PlanConfig(strategy="x-x", batch_size=config.batch_size),
        optimizer=OptimizerConfig(),
        engine=EngineConfig(
            chunk_tokens=config.chunk_tokens, gradcache=True, compile=config.compile, zero_stage=config.zero_stage
        ),
    )


def _lengths(chance: np.random.Generator, mean: int, count: int) -> np.ndarray:
    """Log-normal, as those of questions and paragraphs are [words, of somewhat more than a token each]."""
    words = mean / 2
    return np.maximum(chance.lognormal(np.log(words) - SPREAD**2 / 2, SPREAD, count), 1).astype(int)


def _ours(run: TrainConfig, out: str, gradcache: bool) -> dict[str, Any]:
    """Our trainer, from the end of its first step to the end of its last."""
    engine = run.engine.model_copy(update={"gradcache": gradcache})
    train(run.model_copy(update={"out": out, "engine": engine}))
    lines = runlog.read_metrics(out)
    seconds = lines[-1]["time"] - lines[0]["time"]
    return {
        **lines[-1],
        "pairs_per_s": run.batches.batch_size * (len(lines) - 1) / seconds,
        "padding": statistics.mean(line["padding"] for line in lines),
        **({"mfu": statistics.median(line["mfu"] for line in lines[1:])} if "mfu" in lines[-1] else {}),
    }


def _memory(run: TrainConfig, out: str, batch_size: int) -> float:
    """The peak memory of a worker [GiB] over two steps."""
    batches = run.batches.model_copy(update={"batch_size": batch_size})
    train(run.model_copy(update={"out": out, "batches": batches, "steps": 2}))
    found = max(line["memory_gib"] for line in runlog.read_metrics(out))
    log.info("batch of %d: %.2f GiB", batch_size, found)
    return round(found, 3)


def _apart(module: str, run: TrainConfig, more: dict[str, Any] | None = None) -> str:
    """The last line that `module` prints, run in a process of its own."""
    task = {"run": run.model_dump(mode="json"), **(more or {})}
    command = [sys.executable, "-m", f"hbt_ray.benchmarks.{module}", json.dumps(task)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return said.splitlines()[-1]
