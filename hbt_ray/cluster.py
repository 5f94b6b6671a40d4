"""Joining a Ray cluster, or saying at once why none can be joined."""

from __future__ import annotations

import logging
import os
import secrets
import socket

import grpc
import ray
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray._private.utils import read_ray_address
from ray.core.generated.gcs_service_pb2 import GetClusterIdRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from hbt_ray.config import UserError

ADDRESS = "RAY_ADDRESS"  # Ray's own variable: which cluster to join
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"  # Ray's own, too
SECONDS = 5  # that a cluster has to answer in


def join() -> None:
    """Join the cluster that RAY_ADDRESS names, or else the one that runs on this machine; without any, start one.

    Ray itself tries a dead address for minutes, also that of a cluster which has ended without a word. A cluster that
    is started here ends with the job. Ray 2.60 opens its ports on all addresses of the machine, and so a token, which
    none but the job's own processes are told, keeps others out.

    Raises:
        UserError: RAY_ADDRESS names a dashboard, or no Ray answers there, or it wants another token; or Ray's folder
            has too long a name.
    """
    named = os.environ.get(ADDRESS, "")
    if named.startswith(("http://", "https://")):
        raise UserError(
            f"{ADDRESS}={named} is a dashboard's address, at which `python jobs/submit.py --address {named} -- …`"
            " submits a job; unset it to run here, or name the head as HOST:6379"
        )
    found = named in ("", "auto") and _runs_here()
    if named == "auto" and not found:
        raise UserError(f"{ADDRESS}=auto: no Ray cluster runs on this machine; unset it to start one")
    if named not in ("", "auto", "local"):
        host = named.removeprefix("ray://")  # of a server for Ray's own client, which is no head
        if not (_answers(named) if host == named else _listens(host)):
            raise UserError(f"{ADDRESS}={named}: no Ray cluster answers there")
    own = named == "local" or (not named and not found)
    if own and MODE not in os.environ:
        os.environ.setdefault(TOKEN, secrets.token_hex(32))  # else Ray writes one into the home folder
    try:
        ray.init("local" if own else None, logging_level=logging.WARNING)
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        raise UserError(
            f"Ray's folder has too long a name for sockets: set RAY_TMPDIR to a shorter one: {error}"
        ) from None


def largest_node(resource: str) -> float:
    """The most that one node of the cluster has of a resource, such as `CPU` or `memory` [bytes]."""
    return max((float(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"]), default=0.0)


def _runs_here() -> bool:
    """Whether a Ray head that is known on this machine answers.

    Raises:
        UserError: it does, and refuses the token of this process.
    """
    latest = read_ray_address()
    if not latest or not _listens(latest):
        return False
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as Ray does when it joins this one
    return _answers(latest)


def _listens(address: str) -> bool:
    """Whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _answers(address: str) -> bool:
    """Whether a Ray head answers at HOST:PORT.

    Raises:
        UserError: it does, and refuses the token of this process.
    """
    if not _listens(address):
        return False
    with init_grpc_channel(address, GLOBAL_GRPC_OPTIONS) as channel:
        try:
            NodeInfoGcsServiceStub(channel).GetClusterId(GetClusterIdRequest(), timeout=SECONDS)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise UserError(
                f"{address}: the Ray cluster there wants its token: set {MODE}=token, and {TOKEN} or the file"
                f" ~/.ray/auth_token to the token that it was started with, or"
                f" {ADDRESS}=local to run apart from it ({error.details()})"
            ) from None
    return True
