"""Input from the Hugging Face hub: a server on loopback answers what the hub answers; nothing leaves the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

READ = """
import json
from hbt_ray import storage
from hbt_ray.config import PrepareConfig
from hbt_ray.data import inputs, pieces
from hbt_ray.data.sources import SOURCES
from hbt_ray.data.sources.layout import Layout

_, (file,), version, _ = inputs.find(
    PrepareConfig(source="pairs", input=("hf://datasets/org/name/data",), tokenizer="-", out="-"), part_bytes=2000
)
assert storage.expand("hf://datasets/org/name/data/*.parquet") == [file.uri]
rows = [
    row
    for part in pieces.bundle([file], 2000)
    for piece in part.pieces
    for table in SOURCES["pairs"].read(piece, Layout("data"))
    for row in table.select(["row", "source", "query"]).to_pylist()
]
print(json.dumps({"uri": file.uri, "cuts": len(file.row_groups), "version": version, "rows": rows}))
"""


class Hub(BaseHTTPRequestHandler):
    """Tree, paths and files of the one data set `org/name`, which `folder` holds."""

    folder: Path
    blob = "a" * 40

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/datasets/org/name/resolve/main/"):
            self.answer_file((self.folder / path.removeprefix("/datasets/org/name/resolve/main/")).read_bytes())
        elif path.startswith("/api/datasets/org/name/tree/main"):
            below = self.folder / path.removeprefix("/api/datasets/org/name/tree/main").strip("/")
            entries = below.rglob("*") if "recursive=true" in self.path.lower() else below.iterdir()
            self.answer([self.describe(entry) for entry in entries])
        elif path.startswith("/api/datasets/org/name"):
            self.answer({"id": "org/name", "sha": "b" * 40, "siblings": []})
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def describe(self, entry: Path) -> dict[str, object]:
        kind = "file" if entry.is_file() else "directory"
        size = entry.stat().st_size if entry.is_file() else 0
        return {"type": kind, "path": str(entry.relative_to(self.folder)), "oid": self.blob, "size": size}

    def answer(self, value: object) -> None:
        self.send_body(200, json.dumps(value).encode())

    def answer_file(self, data: bytes) -> None:
        wanted = self.headers["Range"]
        if not wanted:
            return self.send_body(200, data)
        start, stop = wanted.removeprefix("bytes=").split("-")
        return self.send_body(206, data[int(start) : int(stop) + 1])

    def send_body(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    handler = type("OneHub", (Hub,), {"folder": tmp_path})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_data_set_of_the_hub_is_listed_cut_and_read(hub: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    names = ("query", "query_lang", "passage", "passage_lang")
    columns = {name: [f"{name} {row}" for row in range(1000)] for name in names}
    pq.write_table(pa.table(columns), tmp_path / "data" / "train.parquet", row_group_size=100)

    def read() -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-c", READ],
            env={**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    found = read()
    assert (found["uri"], found["cuts"]) == ("hf://datasets/org/name/data/train.parquet", 10)
    assert found["rows"] == [{"row": row, "source": "data", "query": f"query {row}"} for row in range(1000)]
    before, Hub.blob = Hub.blob, "c" * 40  # another version of the file
    try:
        assert read()["version"] != found["version"]
    finally:
        Hub.blob = before
