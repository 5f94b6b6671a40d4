"""What all tests share: a small local Ray cluster, and settings that keep Ray and the models quiet and offline."""

from __future__ import annotations

import json
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
# after the settings, which Ray reads when it is imported
import fsspec.config
import ray
from flaky import FlakyServer
from hypothesis import settings
from moto.server import ThreadedMotoServer

from hbt_ray import storage

pytest_plugins = ["training_runs", "models_made", "exact", "served"]
settings.register_profile("shared machine", deadline=None)  # an example may wait for a core
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need Ray are marked: `make test` runs them beside the others, in a process of their own."""
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[FlakyServer]:
    """A real S3 server on loopback that fails one request in twenty; Ray's workers find it if Ray starts later."""
    moto = ThreadedMotoServer(port=0)
    moto.start()
    server = FlakyServer(*moto.get_host_and_port(), share=0.05)
    found = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": server.url}}
    fsspec.config.conf["s3"] = found
    os.environ["FSSPEC_S3"] = json.dumps(found)  # how fsspec in a worker process is told
    yield server
    server.shutdown()
    moto.stop()


@pytest.fixture(scope="session")
def s3(s3_server: FlakyServer) -> str:
    """A folder in a bucket of that server."""
    storage.filesystem("s3://bucket")[0].mkdir("bucket")
    return "s3://bucket/folder"


@pytest.fixture(scope="session")
def ray_cluster(s3_server: FlakyServer) -> Iterator[None]:
    """Ray on this machine with 4 logical CPUs."""
    ray.init("local", num_cpus=4, include_dashboard=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()
