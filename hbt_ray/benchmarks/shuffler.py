"""The shuffler: from stored pairs to torch tensors at several consumers, and its peers on the same pairs."""

from __future__ import annotations

import logging
import statistics
import tempfile
from typing import Any

from hbt_ray.benchmarks import mosaic, sentence_batches, store
from hbt_ray.benchmarks.consumers import Consumers
from hbt_ray.benchmarks.memory import Watch, megabytes
from hbt_ray.benchmarks.settings import ShufflerBenchmark
from hbt_ray.config import PlanConfig

SHORT = 1000  # steps of the run that a long one's start is compared with
GROWTH_BATCH = 16  # a step of the run whose memory is watched is this part of a batch
PEERS = {"mosaicml-streaming": mosaic.NAME, "sentence-transformers": sentence_batches.NAME}
log = logging.getLogger(__name__)


def measure(config: ShufflerBenchmark) -> dict[str, Any]:
    """Pairs/s of the shuffler and its peers, times to the first batch [s] and, if asked for, memory [MiB]."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        written = store.write_store(f"{folder}/store", config)
        consumers = Consumers(written, config.consumers)
        plan = PlanConfig(strategy=config.strategy, batch_size=config.batch_size)
        cold = consumers.run(plan, 0, config.steps, 1).first_s
        log.info("first batch of a cold start: %.2f s", cold)
        ours: list[float] = []
        peers: dict[str, list[dict[str, float] | None]] = {"mosaicml-streaming": [], "sentence-transformers": []}
        for _ in range(config.rounds):
            ours.append(consumers.run(plan, 0, config.steps).pairs_per_s)
            log.info("ours: %.0f pairs/s", ours[-1])
            if config.peer_pairs:
                count = min(config.peer_pairs, config.pairs)
                peers["mosaicml-streaming"].append(mosaic.measure(written.uri, folder, count, config))
                peers["sentence-transformers"].append(sentence_batches.measure(written.uri, count, config))
                log.info("peers: %s pairs/s", {name: found[-1] for name, found in peers.items()})
        speed = statistics.median(ours)
        result: dict[str, Any] = {
            "ours_pairs_per_s": round(speed),
            "ours_pairs_per_s_by_round": [round(one) for one in ours],
            "ours_tokens_per_s": round(speed * (config.query_tokens + config.passage_tokens)),
            "ours_cold_first_batch_s": round(cold, 2),
        }
        if config.starts:
            result |= _starts(consumers, plan, config)
        if config.memory:
            with Watch() as watch:
                consumers.run(plan, 0, config.steps)
            result["ours_peak_memory_mib"] = megabytes(watch.peak)
        if config.growth_steps:
            result["ours_growth_mib"] = _growth(consumers, config)
    result["peers"] = {name: _summary(name, found) for name, found in peers.items() if found}
    result["ratios"] = {
        name: round(speed / peer["pairs_per_s"], 2) for name, peer in result["peers"].items() if isinstance(peer, dict)
    }
    return result


def _summary(name: str, found: list[dict[str, float] | None]) -> dict[str, Any] | str:
    """A peer's pairs/s: the median of all rounds of each way to use it, and the best way's."""
    rounds = [one for one in found if one is not None]
    if not rounds:
        return "not installed"
    by = {way: round(statistics.median(one[way] for one in rounds)) for way in rounds[0]}
    return {"peer": PEERS[name], "pairs_per_s": max(by.values()), "by": by}


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
