"""The server of `serve`: one process that listens, in front of replicas anywhere on the cluster."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from hbt_ray.config import ServeConfig, UserError
from hbt_ray.search.serving.app import create_app
from hbt_ray.search.serving.deploy import deployed
from hbt_ray.search.serving.models import match
from hbt_ray.search.serving.served import open_served
from hbt_ray.search.serving.tokens import read_token

DRAIN_SECONDS = 10  # that requests have to end in when the server is stopped
log = logging.getLogger(__name__)


def run_server(config: ServeConfig) -> dict[str, Any]:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    Returns: `url`, and how many `requests` were answered.

    Raises:
        UserError: a collection or model is none, they do not fit to each other or into memory, the token is none, or
            the address cannot be listened at.
    """
    token = read_token(config.token_file) if config.token_file is not None else None
    with _listening(config.host, config.port) as listener:
        collections = {name: open_served(name, uri, config.recall) for name, uri in config.collections.items()}
        models = match(config.models, collections)
        log.info("serve: %d collections and %d models are being loaded", len(collections), len(models.configs))
        with deployed(config, collections, models) as retriever:
            app = create_app(retriever, token)
            host = f"[{config.host}]" if ":" in config.host else config.host
            url = f"http://{host}:{listener.getsockname()[1]}"
            settings = uvicorn.Config(
                app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=DRAIN_SECONDS
            )
            with _signals_end_quietly():
                _Server(settings, f"serve: ready at {url}").run(sockets=[listener])
            return {"url": url, "requests": app.requests}


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"{self._ready}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket of the address, which is taken before anything is loaded.

    Raises:
        UserError: it cannot be.
    """
    with contextlib.ExitStack() as stack:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
                0
            ]
            listener = stack.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise UserError(f"--host {host} --port {port}: cannot listen there: {error.strerror}") from None
        yield listener


@contextlib.contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """The server ends at the first of these signals, and raises it again when it has: by then it means nothing."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, lambda *_: None) for one in signals]
    try:
        yield
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)
