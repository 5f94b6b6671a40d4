"""An S3 server as the network shows it: some requests are answered with 503, some with a dropped connection."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class FlakyServer(ThreadingHTTPServer):
    """Forwards to the server at `host`:`port`, but for a `share` of requests; `failed` counts those by kind.

    `requests` has the method and path of each. Conditional writes go on one after the other, since S3 promises that one
    of several wins, and the server behind looks first and writes then.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, share: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.share = (host, port), share
        self.requests: list[tuple[str, str]] = []
        self.failed = {"503": 0, "dropped": 0}
        self.chance = random.Random(0)
        self.lock = threading.Lock()
        self.conditional = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def trouble(self) -> str | None:
        """What happens to the next request, if anything."""
        with self.lock:
            if self.chance.random() >= self.share:
                return None
            kind = self.chance.choice(["503", "dropped"])
            self.failed[kind] += 1
            return kind


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FlakyServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path))
        trouble = self.server.trouble()
        if trouble == "dropped":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if trouble == "503":
            self.answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
            return
        with self.server.conditional if "If-None-Match" in self.headers else contextlib.nullcontext():
            connection = http.client.HTTPConnection(*self.server.behind, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
        self.answer(answer.status, dict(answer.getheaders()), content)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" and status < 300 else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
