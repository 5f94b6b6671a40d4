"""Joining a Ray cluster, or saying at once why none can be joined."""

from __future__ import annotations

import logging
import os
import socket

import ray
from ray._private.utils import read_ray_address

from hbt_ray.config import UserError

ADDRESS = "RAY_ADDRESS"  # Ray's own variable: which cluster to join
SECONDS = 5  # that a cluster has to answer in


def join() -> None:
    """Join the cluster that RAY_ADDRESS names, or else the one that runs on this machine; without any, start one.

    Ray itself tries a dead address for minutes, also that of a cluster which has ended without a word.

    Raises:
        UserError: RAY_ADDRESS names a dashboard, or nothing answers there; or Ray's folder has too long a name.
    """
    named = os.environ.get(ADDRESS, "")
    if named.startswith(("http://", "https://")):
        raise UserError(
            f"{ADDRESS}={named} is a dashboard's address, at which `ray job submit --address {named}` submits a job;"
            " unset it to run here, or name the head as HOST:6379"
        )
    address, latest = None, read_ray_address()
    if not named and latest and not _answers(latest):
        address = "local"
    elif named == "auto" and not (latest and _answers(latest)):
        raise UserError(f"{ADDRESS}=auto: no Ray cluster runs on this machine; unset it to start one")
    elif named not in ("", "auto", "local") and "://" not in named and not _answers(named):
        raise UserError(f"{ADDRESS}={named}: no Ray cluster answers there")
    try:
        ray.init(address, logging_level=logging.WARNING)
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        raise UserError(
            f"Ray's folder has too long a name for sockets: set RAY_TMPDIR to a shorter one: {error}"
        ) from None


def largest_node(resource: str) -> float:
    """The most that one node of the cluster has of a resource, such as `CPU` or `memory` [bytes]."""
    return max((float(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"]), default=0.0)


def _answers(address: str) -> bool:
    """Whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS):
            return True
    except (OSError, ValueError):
        return False
