"""Calls of replicas, which take them in batches: those that come while one batch is computed are the next.

A call survives the loss of a replica. Ray Serve sends it elsewhere while no replica has begun it; one that a replica
takes with it ends in an error, as Serve cannot know whether it may be done twice. Ours may.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import ReplicaUnavailableError

SECONDS = 300  # that a request may take, with all its calls: also until a replica has loaded what another one held
BATCH = 32  # calls that are computed at once
PAUSE = 0.1  # before a call is made again [s]


class NoAnswer(Exception):
    """No replica has answered in time."""


async def call(method: Any, *arguments: Any) -> Any:
    """What a method of a deployment, as its handle has it, returns; asked again as long as replicas die of it.

    Raises:
        NoAnswer: none has answered in time.
    """
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    return await method.remote(*arguments)
                except (RayActorError, ReplicaUnavailableError):
                    await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise NoAnswer(f"no replica has answered within {SECONDS} s") from None
