"""A server as a user starts it, which several tests ask: two models, a collection of each, and an index of one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from inline import encode_here

from hbt_ray.config import EncodeConfig, EncoderConfig, IndexConfig
from hbt_ray.encode.encode import identify
from hbt_ray.model.build import build_encoder
from hbt_ray.search.build import build_index

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-of-the-tests"
SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
DOCUMENTS = [
    ("ar", "1", "القمر", "يضيء القمر في الليل"),
    ("ar", "2", None, "عملة مصر هي الجنيه المصري"),
    ("de", "1", "Der Mond", "Der Mond scheint in der Nacht"),
    ("de", "2", None, "Das Brot ist warm"),
    ("en", "1", "The moon", "The moon shines at night"),
    ("en", "2", "😀 Bread", "The bread is warm"),
    ("en", "3", SCRIPT, SCRIPT),
]  # language, id, title and text


class Running(NamedTuple):
    """A server that answers."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> dict[str, object]:
        """End it as a user does; returns its last line."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        line: dict[str, object] = json.loads(out.splitlines()[-1])
        return line


@pytest.fixture(scope="session")
def served(ray_cluster: None, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, models `one` and `two`, collections `one-vectors` and `two-vectors`, and `one-index`."""
    folder = tmp_path_factory.mktemp("served")
    columns = zip(("lang", "id", "title", "text"), zip(*DOCUMENTS, strict=True), strict=True)
    pq.write_table(pa.table(dict(columns)), folder / "corpus.parquet")
    (folder / "one").symlink_to(small_model)
    build_encoder(EncoderConfig(model="nano", precision="fp32"), str(small_model), seed=1).export(str(folder / "two"))
    for name in ("one", "two"):
        encoder = EncoderConfig(model=str(folder / name), precision="fp32")
        config = EncodeConfig(
            corpus=str(folder / "corpus.parquet"), out=str(folder / f"{name}-vectors"), encoder=encoder
        )
        encode_here(config, identify(encoder))
    build_index(IndexConfig(embeddings=str(folder / "one-vectors"), out=str(folder / "one-index")))
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Running]:
    """A server on the tests' cluster, from when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "jobs/serve.py", "--port", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serve: ready at "), line
        yield Running(line.split()[-1], process)
    finally:
        process.terminate()  # so that it takes its replicas with it, which other tests leave no room for
        process.communicate()


@pytest.fixture(scope="module")
def server(served: Path) -> Iterator[Running]:
    """Both collections and the index, for those who bring the token."""
    names = {"one": "one-vectors", "two": "two-vectors", "indexed": "one-index"}
    collections = [f"{name}={served}/{folder}" for name, folder in names.items()]
    models = [f"{name}={served}/{name}" for name in ("one", "two")]
    with serving("--collections", *collections, "--models", *models, "--token-file", f"{served}/token") as running:
        yield running
