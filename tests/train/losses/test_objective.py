"""Every objective on vectors: the formulas of `reference.py` on one process are the truth, any ranks must agree."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from losses_made import ROWS, STEP, STEPS, WIDTH, global_batch, objectives, ours
from reference import objective
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from hbt_ray.config import InfoNCEConfig, OwnLossConfig, UserError
from hbt_ray.config.losses import Kinds
from hbt_ray.train.losses.objective import Objective, row_weights
from hbt_ray.train.losses.temperature import Temperatures, temperatures_at

NEGATIVES = (0, 2)


def trained() -> tuple[torch.Tensor, torch.Tensor]:
    """What stands for the encoder's weights, and the first of them."""
    weight = torch.randn(WIDTH, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return weight.clone().requires_grad_(), weight


def vectors(negatives: int, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    batch = global_batch(negatives)
    return functional.normalize(batch.queries @ weight, dim=-1), functional.normalize(batch.passages @ weight, dim=-1)


def gradients_of(losses: Sequence[Kinds], negatives: int, rank: int, ranks: int) -> list[torch.Tensor]:
    """Loss, and gradients of weights and temperatures, of one rank's slice."""
    weight, _ = trained()
    temperatures = Temperatures(losses).double()
    queries, passages = vectors(negatives, weight)
    mine = slice(rank * ROWS // ranks, (rank + 1) * ROWS // ranks)
    batch = global_batch(negatives)._replace(queries=queries, passages=passages)
    loss, groups = ours(losses, batch, mine, temperatures())
    assert groups.tolist() == batch.groups.tolist()
    loss.backward()
    assert weight.grad is not None
    logs = temperatures.log_scales
    return [loss.detach(), weight.grad, *([] if logs is None or logs.grad is None else [logs.grad])]


def truth(losses: Sequence[Kinds], negatives: int) -> list[torch.Tensor]:
    weight, _ = trained()
    temperatures = Temperatures(losses).double()
    queries, passages = vectors(negatives, weight)
    batch = global_batch(negatives)._replace(queries=queries, passages=passages)
    loss = objective(losses, batch, temperatures_at(losses, temperatures(), STEP, STEPS))
    loss.backward()
    assert weight.grad is not None
    logs = temperatures.log_scales
    return [loss.detach(), weight.grad, *([] if logs is None or logs.grad is None else [logs.grad])]


def one_rank(rank: int, ranks: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    found = gradients(rank, ranks)
    for tensor in chain.from_iterable(found.values()):  # as data-parallel training averages
        dist.all_reduce(tensor)
        tensor /= ranks
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def gradients(rank: int, ranks: int) -> dict[tuple[str, int], list[torch.Tensor]]:
    return {
        (name, negatives): gradients_of(losses, negatives, rank, ranks)
        for negatives in NEGATIVES
        for name, losses in objectives(negatives).items()
    }


@cache
def truths() -> dict[tuple[str, int], list[torch.Tensor]]:
    return {
        (name, negatives): truth(losses, negatives)
        for negatives in NEGATIVES
        for name, losses in objectives(negatives).items()
    }


def test_gradients_are_those_of_the_formulas() -> None:
    agree(gradients(0, 1))


@pytest.mark.parametrize("ranks", [4, pytest.param(2, marks=pytest.mark.long)])
def test_gradients_equal_the_formulas_on_one_process(tmp_path: Path, ranks: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_rank, (ranks, port, str(tmp_path)), nprocs=ranks)
    for rank in range(ranks):
        agree(torch.load(tmp_path / f"{rank}.pt"))


def agree(found: dict[tuple[str, int], list[torch.Tensor]]) -> None:
    assert found.keys() == truths().keys()
    for case, expected in truths().items():
        assert len(expected) == 2 + any(one.learn_temperature for one in objectives(case[1])[case[0]])
        for got, wanted in zip(found[case], expected, strict=True):
            assert (got - wanted).norm() < 1e-9 * max(1.0, wanted.norm()), case


def test_temperatures_over_a_run() -> None:
    losses: tuple[Kinds, ...] = (
        InfoNCEConfig(temperature=0.1, last_temperature=0.02),
        InfoNCEConfig(temperature=0.5, learn_temperature=True),
        InfoNCEConfig(temperature=0.3),
    )
    model = Temperatures(losses)
    assert model().tolist() == pytest.approx([0.5])
    for step, expected in ((0, 0.1), (2, 0.06), (4, 0.02)):
        found = [one.item() for one in temperatures_at(losses, model().detach(), step, 5)]
        assert found == pytest.approx([expected, 0.5, 0.3])
    assert not list(Temperatures(losses[2:]).parameters())


def test_weights_by_source() -> None:
    losses = (InfoNCEConfig(weight=2.0, sources=("a", "b")), InfoNCEConfig(weight=0.5))
    found = row_weights(losses, np.array(["b", "c", "a"]))
    assert found is not None and found.tolist() == [[2, 0, 2], [0.5, 0.5, 0.5]]
    assert row_weights(losses[1:], np.array(["b"])) is None


@pytest.mark.parametrize(
    ("path", "options", "line"),
    [
        ("own_loses:Pull", {}, "--loss.path own_loses:Pull: No module named 'own_loses'"),
        ("own_losses:Push", {}, "--loss.path own_losses:Push: module 'own_losses' has no attribute 'Push'"),
        ("own_losses:Pull", {"power": 1}, r"--loss.path own_losses:Pull with --loss.options {'power': 1}: .*'power'"),
        ("own_losses:Trained", {}, "--loss.path own_losses:Trained: has weights, which no run trains"),
        ("own_losses:__doc__", {}, "--loss.path own_losses:__doc__: is no class"),
    ],
)
def test_a_loss_of_the_users_that_cannot_be_had(path: str, options: dict[str, float], line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}"):
        Objective([OwnLossConfig(path=path, options=options)], 1)


def test_a_loss_of_the_users_that_is_no_number_for_each_row() -> None:
    with pytest.raises(UserError, match=r"^--loss.path own_losses:Mean: gave \[\], not a loss for each of 8 rows$"):
        ours([OwnLossConfig(path="own_losses:Mean", options={"strength": 1})], global_batch(0))
