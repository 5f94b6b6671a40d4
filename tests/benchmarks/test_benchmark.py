"""Each benchmark runs at a tiny size and says what its JSON promises. How fast it was is no matter here."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hbt_ray import storage
from hbt_ray.benchmarks import store
from hbt_ray.benchmarks.run import benchmark
from hbt_ray.benchmarks.settings import BenchmarkConfig
from hbt_ray.data.streams import StreamStore

SMALL: dict[str, dict[str, Any]] = {
    "encode": {"model": "tiny", "texts": 100, "repeats": 1},
    "shuffler": {
        "pairs": 2400,
        "query_tokens": 4,
        "passage_tokens": 8,
        "batch_size": 32,
        "steps": 40,
        "rounds": 1,
        "starts": 1,
        "late_step": 100_000,
        "peer_pairs": 600,
        "memory": True,
        "growth_steps": 48,
    },
    "plan": {"rows": 100_000, "streams": 8, "batch_sizes": (16, 64), "repeats": 2, "peer_rows": 2000},
    "prepare": {"pairs": 300, "pieces": 300},
    "search": {"rows": 900, "width": 16, "queries": 20, "rounds": 1},
    "serve": {"model": "nano", "rows": 5000, "requests": 10, "together": 3},
    "index": {"rows": 300, "width": 16, "shard_rows": 60, "times": 2},
    "train": {"model": "tiny", "batch_size": 8, "query_tokens": 4, "passage_tokens": 12, "steps": 2, "rounds": 1},
}


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_every_benchmark_says_ours_the_peers_and_their_ratio(name: str, tmp_path: Path, ray_cluster: None) -> None:
    out = tmp_path / "result.json"
    result = benchmark(BenchmarkConfig.model_validate({"name": name, "out": str(out), name: SMALL[name]}))
    assert storage.read_json(str(out)) == json.loads(json.dumps(result))
    assert result["benchmark"] == name
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["ray"]
    assert SMALL[name].items() <= {**result["settings"], "batch_sizes": (16, 64)}.items()
    figures = {key: value for key, value in result.items() if key.startswith("ours_")}
    assert figures
    assert all(value > 0 for value in figures.values() if isinstance(value, float | int))
    if name == "shuffler":
        assert {"early", "late", "long"} == set(result["ours_first_batch_s"])
        assert {"step 4", "step 47"} == set(result["ours_growth_mib"])
        for peer, package in (("mosaicml-streaming", "streaming"), ("sentence-transformers", "datasets")):
            if find_spec(package) is None:
                assert result["peers"][peer] == "not installed"
            else:
                assert result["ratios"][peer] > 0
    else:
        assert result["peer"]
        assert all(ratio > 0 for ratio in result.get("ratios", {"ratio": result.get("ratio")}).values())


def test_the_synthetic_store_holds_what_it_says(tmp_path: Path) -> None:
    config = BenchmarkConfig.model_validate({"shuffler": {**SMALL["shuffler"], "pairs": 24_000}}).shuffler
    written = store.write_store(str(tmp_path / "store"), config)
    written.check_files()
    assert sum(stream.rows for stream in written.streams) == 24_000
    found = list(store.pairs(StreamStore(written.uri), 24_000))
    assert sum(len(queries) for queries, _ in found) == 24_000
    assert {queries.shape[1] for queries, _ in found} == {4}
    assert {passages.shape[1] for _, passages in found} == {8}
    tokens = np.concatenate([passages.ravel() for _, passages in found])
    counts = np.sort(np.bincount(tokens))[::-1]
    assert counts[0] > 10 * counts[100] > 0  # as in texts, some are far more frequent
    (first, _), *_ = store.pairs(written, 10)
    assert len(first) == 10


def test_memory_is_that_of_all_processes() -> None:
    code = """if True:
        import subprocess, sys
        from hbt_ray.benchmarks.memory import Watch
        with Watch() as watch:
            subprocess.run([sys.executable, "-c", "import time; held = b'x' * 2**28; time.sleep(2)"], check=True)
        print(watch.samples[0].total, watch.samples[0].driver, watch.peak, watch.at(0) == watch.samples[0])
    """
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    before, driver, peak = map(int, said[:3])
    assert 2**20 < driver <= before
    assert 2**28 < peak - before < 1.5 * 2**28
    assert said[3] == "True"


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_the_benchmark_of_studies_has_a_cluster_of_its_own() -> None:
    root = Path(__file__).parents[2]
    arguments = ["jobs/benchmark.py", "--name", "study", "--cells", "2", "--study.steps", "4"]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, capture_output=True, text=True, timeout=1400, check=False
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["ours_s"] > 0 and line["ratio"] > 0 and line["peer"] == "in turn"
