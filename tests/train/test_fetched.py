"""A checkpoint on object storage, as the ranks of a node read it."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist
from flaky import FlakyServer
from torch import nn
from torch.multiprocessing.spawn import spawn

from hbt_ray import storage
from hbt_ray.train import checkpoint

RANKS = 4


def model_of(value: float) -> nn.Linear:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(value)
    return model


def one_rank(rank: int, port: int, uri: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    point = checkpoint.at(uri, 7)
    model = model_of(0.0)
    point.load_weights(model)
    moments = {f"{part}/{name}": tensor for part, name, tensor in point.tensors(*checkpoint.MOMENTS)}
    point.release()
    assert point.step == 7 and point.skipped == 0
    torch.save([dict(model.named_parameters()), moments], f"{out}/{rank}.pt")
    dist.destroy_process_group()


def test_ranks_of_a_node_fetch_a_checkpoint_once(s3_server: FlakyServer, s3: str, tmp_path: Path) -> None:
    """However many they are, and for weights and moments together."""
    uri = f"{s3}/fetched"
    parts = ("weight", *checkpoint.MOMENTS)
    saved = {f"{part}/{name}": weight.detach().clone() + number for number, part in enumerate(parts)
             for name, weight in model_of(5.0).named_parameters()}  # fmt: skip
    files = {"a.safetensors": list(saved)[:3], "b.safetensors": list(saved)[3:]}
    for file, names in files.items():
        content = safetensors.torch.save({name: saved[name] for name in names})
        storage.write_bytes(f"{uri}/step-000000007/{file}", content)
    storage.commit(
        f"{uri}/step-000000007",
        checkpoint.KIND,
        {"step": 7, "files": list(files), "plan_hash": "", "plan": {}, "model": ""},
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before, share = len(s3_server.requests), s3_server.share
    s3_server.share = 0.0  # a request that is repeated would count
    try:
        spawn(one_rank, (port, uri, str(tmp_path)), nprocs=RANKS)
    finally:
        s3_server.share = share
    read = Counter(path.rpartition("/")[2] for method, path in s3_server.requests[before:] if method == "GET")
    assert {name: read[name] for name in files} == dict.fromkeys(files, 1)
    for rank in range(RANKS):
        weights, moments = torch.load(tmp_path / f"{rank}.pt")
        found = {**{f"weight/{name}": weight for name, weight in weights.items()}, **moments}
        assert found.keys() == saved.keys()
        assert all(torch.equal(found[name], saved[name]) for name in saved)
