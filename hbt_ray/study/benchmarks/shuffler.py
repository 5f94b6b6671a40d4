"""The shuffler: from stored pairs to torch tensors at several consumers, and its peers on the same pairs."""

from __future__ import annotations

import logging
import statistics
import tempfile
from contextlib import nullcontext
from typing import Any

from hbt_ray.config import PlanConfig, ShufflerBenchmark
from hbt_ray.study.benchmarks import mosaic, sentence_batches, store
from hbt_ray.study.benchmarks.consumers import Consumers
from hbt_ray.study.benchmarks.memory import Watch, megabytes

SHORT = 1000  # steps of the run that a long one's start is compared with
GROWTH_BATCH = 16  # a step of the run whose memory is watched is this part of a batch
log = logging.getLogger(__name__)


def measure(config: ShufflerBenchmark) -> dict[str, Any]:
    """Pairs/s of the shuffler and its peers, times to the first batch [s] and, if asked for, memory [MiB]."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        written = store.write(f"{folder}/store", config)
        plan = PlanConfig(batch_size=config.batch_size)
        with Watch() if config.memory else nullcontext() as watch:
            consumers = Consumers(written, config.consumers)
            cold = consumers.run(plan, 0, config.steps, min(config.steps, 20)).first_s
            log.info("first batch of a cold start: %.2f s", cold)
            run = consumers.run(plan, 0, config.steps)
        log.info("ours: %.0f pairs/s", run.pairs_per_s)
        peak = {"ours_peak_memory_mib": megabytes(watch.peak)} if watch else {}
        growth = {"ours_growth_mib": _growth(consumers, config)} if config.growth_steps else {}
        starts = _starts(consumers, plan, config) if config.starts else {}
        del consumers
        peers = _peers(written.uri, folder, config) if config.peer_pairs else {}
    return {
        "ours_pairs_per_s": round(run.pairs_per_s),
        "ours_tokens_per_s": round(run.pairs_per_s * (config.query_tokens + config.passage_tokens)),
        "ours_cold_first_batch_s": round(cold, 2),
        **starts,
        **peak,
        **growth,
        "peers": peers,
        "ratios": {
            name: round(run.pairs_per_s / peer["pairs_per_s"], 2)
            for name, peer in peers.items()
            if isinstance(peer, dict)
        },
    }


def _peers(uri: str, folder: str, config: ShufflerBenchmark) -> dict[str, dict[str, Any] | str]:
    """What each peer gave, or that it is not installed."""
    count = min(config.peer_pairs, config.pairs)
    return {
        "mosaicml-streaming": mosaic.measure(uri, folder, count, config),
        "sentence-transformers": sentence_batches.measure(uri, count, config),
    }


def _starts(consumers: Consumers, plan: PlanConfig, config: ShufflerBenchmark) -> dict[str, Any]:
    """Medians of the time to the first batch [s] of runs that differ in where they begin or end."""
    late = config.late_step
    cases = {"early": (0, SHORT), "late": (late, late + SHORT), "long": (0, late)}
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(config.starts):
        for name, (start, stop) in cases.items():
            found[name].append(consumers.run(plan, start, stop, 1).first_s)
    middle = {name: statistics.median(times) for name, times in found.items()}
    log.info("first batch: %s", {name: [round(one, 2) for one in times] for name, times in found.items()})
    return {
        "ours_first_batch_s": {name: round(time, 3) for name, time in middle.items()},
        "late_start_ratio": round(middle["late"] / middle["early"], 3),
        "long_run_ratio": round(middle["long"] / middle["early"], 3),
    }


def _growth(consumers: Consumers, config: ShufflerBenchmark) -> dict[str, Any]:
    """Memory [MiB] that the driver and the split coordinator have to themselves, early in a long run and at its end."""
    early, end = config.growth_steps // 12, config.growth_steps - 1
    plan = PlanConfig(batch_size=max(config.batch_size // GROWTH_BATCH, config.consumers))
    with Watch() as watch:
        run = consumers.run(plan, 0, config.growth_steps, marks=(early, end))
    found = {}
    for step in (early, end):
        sample = watch.at(run.times[step])
        found[f"step {step}"] = {
            "driver": megabytes(sample.driver),
            "coordinator": megabytes(sample.coordinator),
            "all": megabytes(sample.total),
        }
    log.info("memory: %s", found)
    return found
