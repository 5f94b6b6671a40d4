"""Questions to a running server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx

from hbt_ray.config import SearchConfig, UserError
from hbt_ray.search.ask import Answer
from hbt_ray.search.serving.calls import SECONDS
from hbt_ray.search.serving.tokens import read_token


@contextlib.contextmanager
def asking_server(config: SearchConfig) -> Iterator[Answer]:
    """What answers queries while the block runs: the server, whose answers are a `SearchAnswer` each.

    Raises:
        UserError: it cannot be reached, wants another token, or refuses a query; the line says what it said.
    """
    assert config.server is not None
    headers = {}
    if config.token_file is not None:
        headers["Authorization"] = f"Bearer {read_token(config.token_file)}"
    # no proxy of the environment's, and as long as the server itself has
    with httpx.Client(headers=headers, timeout=SECONDS + 5, trust_env=False) as client:
        url = f"{config.server.rstrip('/')}/search"
        question = {"languages": config.languages, "k": config.k, "collections": config.collections}
        yield lambda query: _answer(client, url, {**question, "query": query})


def _answer(client: httpx.Client, url: str, question: dict[str, Any]) -> dict[str, Any]:
    try:
        response = client.post(url, json=question)
        found = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UserError(f"--server: {url} does not answer as a server of ours: {error}") from None
    if response.is_error or not isinstance(found, dict):
        said = found.get("error") if isinstance(found, dict) else None
        raise UserError(f"--server: {url} says {response.status_code}: {said or response.reason_phrase}")
    return found
