"""What every request passes: whether it brings the token, whether it is small enough; it is counted and timed."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from ray.util.metrics import Counter, Histogram
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hbt_ray.config.serve import BODY_BYTES, is_loopback

OPEN = "/health"  # also without a token
SECONDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60]  # of latencies that are told apart


class Guard:
    """The application as others reach it.

    Browsers cannot bring a bearer token; they ask for a password (RFC 7617), which is the token, with any name. Without
    a token, only requests to a loopback name are taken, so that no page of elsewhere gets at it by a name of its own.

    Attributes:
        requests: how many have been answered.
    """

    def __init__(self, app: ASGIApp, token: str | None, paths: Collection[str]) -> None:
        """`paths` are those that are counted by name."""
        self._app, self._token, self._paths = app, token, paths
        self.requests = 0
        self._counter = Counter("hbt_ray_serve_requests", "requests answered", ("path", "status"))
        self._seconds = Histogram("hbt_ray_serve_latency_s", "time to the whole answer [s]", SECONDS, ("path",))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun, status, taken = time.monotonic(), HTTPStatus.INTERNAL_SERVER_ERROR.value, 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def count() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large())
            return message

        try:
            await (self._refusal(scope) or self._app)(scope, count, note)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self.requests += 1
            self._counter.inc(1, {"path": path, "status": str(status)})
            self._seconds.observe(max(time.monotonic() - begun, 1e-9), {"path": path})

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > BODY_BYTES:
            return _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large())
        if scope["path"] == OPEN:
            return None
        if self._token is None:
            name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
            return None if is_loopback(name) else _refused(HTTPStatus.FORBIDDEN, "this is a server of localhost")
        if hmac.compare_digest(_given(headers.get("authorization", "")), self._token.encode()):
            return None
        refusal = _refused(HTTPStatus.UNAUTHORIZED, "a request must bring the token")
        for way in ("Bearer", "Basic"):  # each in a header of its own, or Chromium sees the first alone
            refusal.headers.append("WWW-Authenticate", f'{way} realm="hbt_ray"')
        return refusal


def _given(authorization: str) -> bytes:
    """The token in a header, as a bearer's or as the password of any name."""
    way, _, given = authorization.partition(" ")
    if way.lower() == "bearer":
        return given.strip().encode()
    try:
        return base64.b64decode(given, validate=True).partition(b":")[2] if way.lower() == "basic" else b""
    except ValueError:
        return b""


def _too_large() -> str:
    return f"a request has at most {BODY_BYTES:,} bytes"


def _refused(status: HTTPStatus, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)
