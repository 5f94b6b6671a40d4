"""Many requests at once, while replicas are killed."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from clusters import processes
from served import serving

REQUESTS, TOGETHER = 200, 20


@pytest.mark.long
@pytest.mark.parametrize("replicas", [1, 2])
def test_no_request_is_lost_with_a_replica(served: Path, replicas: int) -> None:
    """One of each deployment is killed while requests are under way; with one replica, they wait for the next."""
    names = [f"{kind}={served}/{kind}-vectors" for kind in ("one", "two")]
    models = [f"{kind}={served}/{kind}" for kind in ("one", "two")]
    with serving("--collections", *names, "--models", *models, "--replicas", str(replicas)) as running:
        limits = httpx.Limits(max_connections=TOGETHER)
        with httpx.Client(base_url=running.url, timeout=300, trust_env=False, limits=limits) as client:

            def ask(number: int) -> tuple[int, tuple[str, ...]]:
                if number == REQUESTS // 4:
                    threading.Thread(target=kill_one_of_each).start()
                response = client.post("/search", json={"query": f"moon {number % 5}", "k": 3})
                return response.status_code, tuple(hit["id"] for hit in response.json().get("hits", []))

            quiet = {number: ask(number) for number in range(5)}
            with ThreadPoolExecutor(TOGETHER) as pool:
                answers = list(pool.map(ask, range(REQUESTS)))
        assert Counter(status for status, _ in answers) == {200: REQUESTS}
        assert killed
        assert all(answer == quiet[number % 5] for number, answer in enumerate(answers))
        assert running.stop() == {"status": "ok", "url": running.url, "requests": REQUESTS + 5}


killed: list[str] = []


def kill_one_of_each() -> None:
    """Of each deployment, the first replica there is."""
    killed.clear()
    for replica in processes("ServeReplica"):
        name = replica.cmdline()[0]
        if name not in killed:
            replica.kill()
            killed.append(name)
