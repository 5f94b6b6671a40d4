"""What all tests share: a small local Ray cluster, and settings that keep Ray and the models quiet and offline."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.5",
    RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="60",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    DS_ACCELERATOR="cpu",
)
import ray  # after the settings, which it reads when it is imported


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray on this machine with 4 logical CPUs."""
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()
