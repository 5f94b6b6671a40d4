"""Storage that fails for good: one line that names the place, from whatever function meets it first."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec.config
import pytest
from flaky import FlakyServer

from hbt_ray import storage
from hbt_ray.config import UserError

READS: list[Callable[[str], Any]] = [
    storage.read_bytes, storage.sizes, storage.exists, storage.expand, storage.version_of, storage.local_copy,
    storage.read_parquet,
]  # fmt: skip
WRITES: list[Callable[[str], Any]] = [
    lambda uri: storage.write_json(uri, {}),
    lambda uri: storage.write_new(uri, b""),
    lambda uri: storage.claim(uri, "job", {}),
]


def refused(call: Callable[[str], Any], uri: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as error:
        call(uri)
    assert str(error.value).startswith(uri)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("write", WRITES)
def test_a_bucket_that_is_not_there(s3_server: FlakyServer, write: Callable[[str], Any]) -> None:
    refused(write, "s3://no-such-bucket/folder", "cannot be written: The specified bucket does not exist")


class Closed(BaseHTTPRequestHandler):
    """A store that lets nobody in."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = answer

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Closed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def at(url: str, **more: Any) -> dict[str, Any]:
    quick = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    return {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": url}, "config_kwargs": quick, **more}


@pytest.mark.parametrize("call", [*READS, *WRITES])
def test_a_key_that_may_not(closed: str, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], Any]) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", at(closed))
    refused(call, "s3://bucket/folder", "(no permission to (read|write) there|cannot be written): .*(Forbidden|Denied)")


@pytest.mark.parametrize("call", [storage.read_bytes, storage.expand, WRITES[0]])
def test_nothing_that_answers(monkeypatch: pytest.MonkeyPatch, call: Callable[[str], Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setitem(fsspec.config.conf, "s3", at(f"http://127.0.0.1:{port}"))
    refused(call, "s3://bucket/folder", f'Could not connect to the endpoint URL: "http://127.0.0.1:{port}/bucket')


@pytest.mark.parametrize("call", [storage.read_bytes, WRITES[0]])
def test_no_credentials(closed: str, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], Any]) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"client_kwargs": {"endpoint_url": closed}, "config_kwargs": {}})
    refused(call, "s3://bucket/folder", "Unable to locate credentials")


@pytest.mark.parametrize("write", WRITES)
def test_a_file_in_the_way_of_a_folder(tmp_path: Path, write: Callable[[str], Any]) -> None:
    (tmp_path / "file").write_text("")
    refused(write, f"{tmp_path}/file/below", "Not a directory")


def test_no_room(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        refused(lambda uri: storage.write_bytes(uri, bytes(1000)), f"{tmp_path}/file", "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_what_else_goes_wrong_while_a_file_is_written_is_not_its_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage.create(f"{tmp_path}/file"):
        (tmp_path / "other").read_bytes()
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{tmp_path}/none")


def test_a_claim_whose_place_fails_says_what_failed_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="^first$"), storage.claimed(str(out), "job", {}, ()):
        for path in out.iterdir():
            path.unlink()
        out.rmdir()
        out.write_text("")
        raise UserError("first")
