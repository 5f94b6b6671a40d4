"""What is made once a node, for all ranks there."""

from __future__ import annotations

import socket
from collections.abc import Callable

import torch.distributed as dist

from hbt_ray.config import UserError


def several() -> bool:
    """Whether this process is one of several ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def once_a_node(make: Callable[[], str]) -> tuple[str, bool]:
    """What `make`, which one rank of each node calls, returns there, and whether this is that rank.

    All ranks must call it.

    Raises:
        UserError: `make` raised one on some node; all ranks do.
    """
    if not several():
        return make(), True
    host, hosts = socket.gethostname(), [""] * dist.get_world_size()
    places: list[str | UserError] = [""] * dist.get_world_size()
    group = dist.new_group(backend="gloo")  # no device is chosen yet
    dist.all_gather_object(hosts, host, group=group)
    first = hosts.index(host)
    leads = first == dist.get_rank()
    dist.all_gather_object(places, _or_mistake(make) if leads else "", group=group)
    dist.destroy_process_group(group)
    for found in places:
        if isinstance(found, UserError):
            raise found
    return str(places[first]), leads


def _or_mistake(make: Callable[[], str]) -> str | UserError:
    try:
        return make()
    except UserError as mistake:
        return mistake
