"""Deployments of Ray Serve: how many replicas there are, what they reserve, who holds what of a large collection."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.schema import LoggingConfig

from hbt_ray.cluster import largest_node
from hbt_ray.config import ServeConfig, UserError
from hbt_ray.search.searcher import refuse_too_large
from hbt_ray.search.serving.calls import BATCH
from hbt_ray.search.serving.embedder import Embedder
from hbt_ray.search.serving.holder import Holder
from hbt_ray.search.serving.models import Models
from hbt_ray.search.serving.retriever import Collection, Retriever
from hbt_ray.search.serving.served import Piece, Served

UPSCALE_SECONDS = 5  # of too many requests, after which there is another replica
QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


@contextlib.contextmanager
def deployed(config: ServeConfig, collections: Mapping[str, Served], models: Models) -> Iterator[Retriever]:
    """Replicas of all models and collections while the block runs, from when each is ready.

    Raises:
        UserError: a piece of a collection is larger than any node, or all are larger than the cluster.
    """
    node = largest_node("memory")
    refuse_too_large(
        sum(piece.memory for served in collections.values() for piece in served.pieces) * config.replicas[0]
    )
    shares = {name: share(served, node) for name, served in collections.items()}
    count = config.replicas[0] * (len(models.configs) + sum(map(len, shares.values())))
    # as a searcher does: half a CPU for each thread, and on a small machine less, since most of the time they wait
    cpus = ray.cluster_resources().get("CPU", 1)
    threads = max(1, min(int(cpus // count), int(largest_node("CPU"))))
    needs = {
        "num_cpus": round(min(threads / 2, cpus / count / 2), 4),
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(threads)}},
    }
    apps: dict[tuple[str, str, int], serve.Application] = {}
    for name, encoder in models.configs.items():
        options = {**needs, "num_gpus": config.gpus_per_replica}
        apps["model", name, 0] = _deployment(Embedder, config, options).bind(
            encoder, threads, config.gpus_per_replica > 0
        )
    for name, served in collections.items():
        for number, pieces in enumerate(shares[name]):
            options = {**needs, "memory": sum(piece.memory for piece in pieces)}
            apps["collection", name, number] = _deployment(Holder, config, options).bind(served, pieces)
    run = uuid.uuid4().hex[:8]  # another server may be at work on the cluster
    names = {key: "-".join(["hbt-ray", run, *map(str, key)]) for key in apps}
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it warns of each probe that a busy replica is late for
    serve.start(proxy_location="Disabled", logging_config=QUIET)
    try:
        targets = [serve.RunTarget(app, names[key], None, QUIET) for key, app in apps.items()]
        handles = dict(zip(apps, serve.run_many(targets), strict=True))
        held = {
            name: Collection(
                served, models.of[name], served.rows, [handles["collection", name, n] for n in range(len(shares[name]))]
            )
            for name, served in collections.items()
        }
        yield Retriever(held, {name: handles["model", name, 0] for name in models.configs})
    finally:
        _stop(set(names.values()))


def share(served: Served, most: float) -> list[list[Piece]]:
    """The pieces in as few shares as go, each at most as large as a node, `most` [bytes]: the largest first.

    Raises:
        UserError: a piece is larger.
    """
    shares: list[list[Piece]] = []
    for piece in sorted(served.pieces, key=lambda one: -one.memory):
        if piece.memory > most:
            raise UserError(
                f"--collections {served.name}: {piece.rows:,} documents in {piece.language} take"
                f" {piece.memory / 2**30:.1f} GiB of memory and no node of the cluster has more than {most / 2**30:.1f}"
                " GiB; an index of it with smaller shards (index --shard-rows), or an approximate one, may fit"
            )
        fitting = next((one for one in shares if sum(held.memory for held in one) + piece.memory <= most), None)
        if fitting is None:
            shares.append([piece])
        else:
            fitting.append(piece)
    return shares


def _stop(apps: set[str]) -> None:
    """End these applications, and Ray Serve itself unless there are others."""
    if set(serve.status().applications) <= apps:
        serve.shutdown()
        return
    for name in apps:
        serve.delete(name)


def _deployment(replica: type, config: ServeConfig, needs: Mapping[str, Any]) -> Any:
    fewest, most = config.replicas
    scale: dict[str, Any] = {"num_replicas": fewest}
    if most > fewest:
        scale = {
            "autoscaling_config": {
                "min_replicas": fewest,
                "max_replicas": most,
                "target_ongoing_requests": BATCH / 2,
                "upscale_delay_s": UPSCALE_SECONDS,
            }
        }
    return serve.deployment(replica, max_ongoing_requests=2 * BATCH, ray_actor_options=dict(needs), **scale)
